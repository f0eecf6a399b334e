"""Answers that stand before a store's in all gates of this process. For tests: `flaggate.testing.override`.

Who lays them over, or takes them away, has the gates of the process take a look: `gate.republish()`.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Final, TypeAlias

from flaggate.decide.context import Context
from flaggate.decide.decision import Decision

if TYPE_CHECKING:
    from flaggate.decide.compile import CompiledFlag
    from flaggate.runtime.snapshot import Snapshot
    from flaggate.stores.base import Store

__all__ = [
    "Answer",
    "is_overriding",
    "lay_over",
    "look_up_names",
    "made_when_asked",
    "make_all",
    "overridden",
    "take_away",
]

Answer: TypeAlias = bool | Callable[[Context], bool]
"""On or off for everyone; or a function that says whether it is on for this one."""

_layers: Final[list[Mapping[str, CompiledFlag]]] = []
"""The later ones stand before the earlier."""
_lock: Final = threading.Lock()


_makers: Final[set[Callable[[], object]]] = set()


def made_when_asked(make: Callable[[], object]) -> None:
    """Say what makes an app's gate, if nothing does before the first request: a test may name its flags by then."""
    _makers.add(make)


def make_all() -> None:
    """Make the gates that are still to be made."""
    for make in _makers:
        make()


def is_overriding() -> bool:
    """Whether any answer stands before a store's now."""
    return bool(_layers)


def lay_over(answers: Mapping[str, Answer]) -> Mapping[str, CompiledFlag]:
    """Have these answers given, from the next visit on. Returns what is to be taken away in the end."""
    layer = {name: _compiled(name, answer) for name, answer in answers.items()}
    with _lock:
        _layers.append(layer)
    return layer


def take_away(layer: Mapping[str, CompiledFlag]) -> None:
    """As if it had not been laid over."""
    with _lock:
        _layers[:] = [each for each in _layers if each is not layer]


def overridden(snapshot: Snapshot) -> Snapshot:
    """The snapshot with the answers that stand before it. A flag of these has an entry, and no row."""
    if not _layers:
        return snapshot
    from dataclasses import replace  # with all that compiles: it is there by now

    from flaggate.runtime.snapshot import Entry

    flags = {name: flag for layer in _layers for name, flag in layer.items()}
    return replace(
        snapshot,
        entries=dict(sorted({**snapshot.entries, **{name: Entry(flag) for name, flag in flags.items()}}.items())),
        decide={**snapshot.decide, **{name: flag.decide for name, flag in flags.items()}},
        is_on={**snapshot.is_on, **{name: flag.is_on for name, flag in flags.items()}},
    )


def look_up_names(
    store: Store, definitions: str | os.PathLike[str] | None, sought: Collection[str]
) -> frozenset[str] | None:
    """The flags of the definitions file and, unless all that are sought are among these, of the store; None = nobody can
    tell. For a test that is about to begin: nothing is applied, and the gate's first question is still to come."""
    names: set[str] = set()
    try:
        if definitions is not None:
            from flaggate.runtime.definitions import load

            names.update(load(definitions).definitions.flags)
        if not names.issuperset(sought):  # else it is not asked: to open it may make it
            names.update(row.name for row in store.changes().rows if row.kind == "flag" and row.document is not None)
    except Exception:  # a store that is not there, a file with mistakes: who asks a flag is told
        return None
    return frozenset(names) or None


def _compiled(name: str, answer: Answer) -> CompiledFlag:
    from flaggate.decide.compile import CompiledFlag, constant_flag
    from flaggate.flags.audience import ATTRIBUTES

    if not callable(answer):
        return constant_flag(Decision(name, answer, "override"))
    decisions = {is_on: Decision(name, is_on, "override") for is_on in (False, True)}
    return CompiledFlag(
        lambda context: decisions[bool(answer(context))],
        lambda context: bool(answer(context)),
        frozenset({*ATTRIBUTES, "attributes"}),  # it may read all of the app's own, whatever their names
    )
