"""Feature rollouts that judge themselves, inside the app that you have."""

from typing import TYPE_CHECKING, Any

from flaggate.decide.context import Context
from flaggate.decide.decision import Decision
from flaggate.errors import FlaggateError
from flaggate.runtime.gate import Gate

if TYPE_CHECKING:
    from flaggate.flags.model import Flag, Guard, Stage

__all__ = ["Context", "Decision", "Flag", "FlaggateError", "Gate", "Guard", "Stage"]

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Flag, Guard and Stage: what is declared is read by the keeper, not by those who only ask (PEP 562)."""
    if name in __all__:
        from flaggate.flags import model

        return getattr(model, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
