"""Views, classes and whole URL trees that are there only for those who have a flag."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any, ClassVar, Final, TypeAlias, TypeVar

from asgiref.sync import async_to_sync, iscoroutinefunction, sync_to_async
from django.http import Http404, HttpRequest, HttpResponseRedirect
from django.urls import URLPattern, URLResolver, get_script_prefix
from django.urls.resolvers import ResolverMatch
from django.views import View

from flaggate.contrib.django.middleware import flags_from, is_on_async
from flaggate.errors import SettingError
from flaggate.web.gates import check_otherwise
from flaggate.web.routes import FLAG_NAME, is_flag_name

__all__ = ["FeatureRequiredMixin", "feature_required"]

Otherwise: TypeAlias = "str | Callable[..., Any] | None"
_Gated = TypeVar("_Gated", bound="Callable[..., Any] | URLPattern | URLResolver")
_ALLOWED: Final = "a view, a View class, or what path() or re_path() gave"
_OPENS: Final = {"csrf_exempt": True, "login_required": False}
"""What Django reads off a view that is not protected, and how that looks."""


def feature_required(name: str, otherwise: Otherwise = None) -> Callable[[_Gated], _Gated]:
    """Serve a view only to those who have the flag.

    On a function, sync or async; on a View class; or called with what `path()` gave, for a view or for all that it
    includes: `feature_required("new-invoicing")(path("v2/", include("shop.v2.urls")))`.

    Args:
        name: The flag.
        otherwise: A view that is called with the same arguments, or a path of the project to redirect to; None = 404, as
            if the view were not there. With a view, what is csrf_exempt or login_not_required has to be so in both.

    Raises:
        SettingError: for anything else.
    """
    if not is_flag_name(name):
        allowed = f'the name of a flag: @feature_required("new-invoicing"); {FLAG_NAME}'
        raise SettingError("feature_required", name, allowed)
    if not _is_usable(otherwise):
        allowed = "a view (of a View class its as_view()), or a path that begins with a slash"
        raise SettingError("otherwise", otherwise, allowed)

    def decorate(gated: _Gated) -> _Gated:
        made: Any
        view = gated.callback if isinstance(gated, URLPattern) else gated
        if inspect.isfunction(view):
            check_otherwise(view, otherwise, leading=1)
        if isinstance(gated, URLPattern):
            made = URLPattern(
                gated.pattern, _gated_view(gated.callback, name, otherwise), gated.default_args, gated.name
            )
        elif isinstance(gated, URLResolver):
            made = _GatedResolver(gated, name, otherwise)
        elif isinstance(gated, type) and issubclass(gated, View):
            made = _gated_class(gated, name, otherwise)
        elif callable(gated) and not isinstance(gated, type):
            made = _gated_view(gated, name, otherwise)
        else:
            raise SettingError("feature_required", gated, _ALLOWED)
        return made  # type: ignore[no-any-return]  # of the kind that was given

    return decorate


class FeatureRequiredMixin:
    """A View that is there only for those who have a flag: `class Invoices(FeatureRequiredMixin, View)`.

    Raises:
        SettingError: when the class is made, if it stands behind the View among the bases: it would gate nothing.
    """

    feature: ClassVar[str]
    """The flag."""
    otherwise: ClassVar[Otherwise] = None
    """As `feature_required` takes it."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        asked_first = next(base for base in cls.__mro__ if "as_view" in vars(base))
        if not issubclass(asked_first, FeatureRequiredMixin):
            raise SettingError(cls.__qualname__, cls.__bases__, "FeatureRequiredMixin first among the bases")

    @classmethod
    def as_view(cls, *args: Any, **initkwargs: Any) -> Callable[..., Any]:
        """The view behind its flag."""
        name = getattr(cls, "feature", None)
        if name is None:
            raise SettingError(f"{cls.__qualname__}.feature", "(not set)", "the name of a flag")
        view: Callable[..., Any] = super().as_view(*args, **initkwargs)  # type: ignore[misc]  # of the View beside it
        return feature_required(name, cls.otherwise)(view)


def _is_usable(otherwise: Otherwise) -> bool:
    if isinstance(otherwise, str):
        return otherwise.startswith("/")
    return otherwise is None or (callable(otherwise) and not isinstance(otherwise, type))


def _gated_class(view: type[View], name: str, otherwise: Otherwise) -> type[View]:
    def as_view(cls: type[View], /, *args: Any, **initkwargs: Any) -> Callable[..., Any]:
        return _gated_view(as_before.__func__(cls, *args, **initkwargs), name, otherwise)

    as_before: Any = view.as_view
    view.as_view = classmethod(as_view)  # type: ignore[method-assign, assignment]  # its subclasses are gated, too
    return view


class _GatedResolver(URLResolver):
    """What `path(..., include(...))` gave, behind a flag."""

    def __init__(self, gated: URLResolver, name: str, otherwise: Otherwise) -> None:
        default = gated.default_kwargs
        super().__init__(gated.pattern, gated.urlconf_name, default, gated.app_name, gated.namespace)
        self._flag = name
        self._otherwise = otherwise

    def resolve(self, path: str) -> ResolverMatch:
        match = super().resolve(path)
        match.func = _gated_view(match.func, self._flag, self._otherwise)
        return match


# --- asking -------------------------------------------------------------------------------------


def _gated_view(view: Callable[..., Any], name: str, otherwise: Otherwise) -> Callable[..., Any]:
    made: Any
    if _is_awaited(view):

        @wraps(view)
        async def gated_async(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
            if await is_on_async(flags_from(request), name):
                return await view(request, *args, **kwargs)
            if not callable(otherwise):
                return _instead(otherwise)
            # In the request's own thread, as any sync view.
            called = otherwise if iscoroutinefunction(otherwise) else sync_to_async(otherwise)
            return await called(request, *args, **kwargs)

        made = gated_async
    else:

        @wraps(view)
        def gated(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
            if flags_from(request).is_on(name):
                return view(request, *args, **kwargs)
            if not callable(otherwise):
                return _instead(otherwise)
            called = async_to_sync(otherwise) if iscoroutinefunction(otherwise) else otherwise
            return called(request, *args, **kwargs)

        made = gated
    if callable(otherwise):  # Django asks before either is called: neither may open the other
        for mark, is_open in _OPENS.items():
            if getattr(view, mark, not is_open) is is_open and getattr(otherwise, mark, not is_open) is not is_open:
                setattr(made, mark, not is_open)
    return made  # type: ignore[no-any-return]  # it is called like the view


def _is_awaited(view: Any) -> bool:
    """Whether its answer is to be awaited: `dispatch`, as method_decorator hands it over, does not say so by itself."""
    method: Any = getattr(view, "func", None)
    of: Any = getattr(method, "__self__", None)
    is_dispatch = isinstance(of, View) and method.__name__ == "dispatch"
    return iscoroutinefunction(view) or (is_dispatch and of.view_is_async)


def _instead(otherwise: str | None) -> HttpResponseRedirect:
    if otherwise is None:
        raise Http404
    return HttpResponseRedirect(f"{get_script_prefix().rstrip('/')}{otherwise}")
