"""What templates ask, in Django's own language and in Jinja2.

"context_processors": [..., "flaggate.contrib.django.templating.flags"]            {% if flags.new_invoicing %}
"extensions": ["flaggate.contrib.django.templating.FeatureExtension"]  (Jinja2)    {% if feature("new-invoicing") %}
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.http import HttpRequest

from flaggate.contrib.django.middleware import flags_from
from flaggate.contrib.django.project import gate

if TYPE_CHECKING:
    from flaggate.runtime.visit import Visit

__all__ = ["feature", "flags"]


def feature(name: str, request: HttpRequest | None = None) -> bool:
    """Whether the flag is on for who asks: in this request, else in the visit of this task or thread, else for nobody."""
    return gate().is_on(name) if request is None else flags_from(request).is_on(name)


def flags(request: HttpRequest) -> dict[str, Any]:
    """A context processor: `flags.new_invoicing`, with underscores, because a template takes no hyphens."""
    return {"flags": _Flags(flags_from(request))}


class _Flags:
    def __init__(self, visit: Visit) -> None:
        self._visit = visit

    def __getitem__(self, name: str) -> bool:
        return self._visit.is_on(name.replace("_", "-"))


def __getattr__(name: str) -> Any:
    """FeatureExtension, for those who have Jinja2 (PEP 562)."""
    if name != "FeatureExtension":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from jinja2 import pass_context
    from jinja2.ext import Extension

    @pass_context
    def feature_of(context: Any, name: str) -> bool:
        request = context.get("request")  # an imported macro has none
        return feature(name, request if isinstance(request, HttpRequest) else None)

    class FeatureExtension(Extension):
        """Makes `feature` a global of the environment."""

        def __init__(self, environment: Any) -> None:
            super().__init__(environment)
            environment.globals["feature"] = feature_of

    return globals().setdefault(name, FeatureExtension)
