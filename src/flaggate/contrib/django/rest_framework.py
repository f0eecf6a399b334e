"""A permission of Django REST framework that asks when the framework has authenticated.

class Invoices(APIView):
    permission_classes = [IsAuthenticated, FeatureRequired]
    feature = "new-invoicing"
"""

from __future__ import annotations

from functools import cache
from typing import Any, ClassVar

from rest_framework.exceptions import NotFound  # type: ignore[import-untyped]  # it has no types
from rest_framework.permissions import (  # type: ignore[import-untyped]  # it has no types
    AND,
    NOT,
    OR,
    BasePermission,
    BasePermissionMetaclass,
    OperandHolder,
    SingleOperandHolder,
)

from flaggate.contrib.django.middleware import flags_from
from flaggate.errors import SettingError
from flaggate.web.routes import FLAG_NAME, is_flag_name

__all__ = ["FeatureRequired"]


class _Composed:
    """What stands in an expression. In `|` and `~` a 404 would be the answer of the whole: False is one for that part."""

    def __and__(self, other: Any) -> Any:
        return _Both(AND, self, other)

    def __rand__(self, other: Any) -> Any:
        return _Both(AND, other, self)

    def __or__(self, other: Any) -> Any:
        return OperandHolder(OR, _quiet(self), _quiet(other))

    def __ror__(self, other: Any) -> Any:
        return OperandHolder(OR, _quiet(other), _quiet(self))

    def __invert__(self) -> Any:
        return SingleOperandHolder(NOT, _quiet(self))


class _Both(_Composed, OperandHolder):  # type: ignore[misc]  # of no type, as its base
    pass


class _Permission(_Composed, BasePermissionMetaclass):  # type: ignore[misc]  # of no type, as its base
    pass


def _quiet(part: Any) -> Any:
    """The same, but False where it would be a 404."""
    if isinstance(part, _Both):
        return OperandHolder(AND, _quiet(part.op1_class), _quiet(part.op2_class))
    return _said_no(part) if isinstance(part, _Permission) else part


@cache
def _said_no(permission: Any) -> Any:
    def has_object_permission(self: Any, request: Any, view: Any, _obj: Any) -> Any:
        return self.has_permission(request, view)  # which `~` turns round, too

    words = {word: getattr(permission, word) for word in ("__module__", "__qualname__", "__doc__")}
    words |= {"is_quiet": True, "has_object_permission": has_object_permission}
    return type(permission)(permission.__name__, (permission,), words)


class FeatureRequired(BasePermission, metaclass=_Permission):  # type: ignore[misc]  # of no type, as its base
    """404 for who does not have the view's `feature`, as if the view were not there. A subclass may name the feature,
    for views that are functions: `@permission_classes([NewInvoicing])`.

    `&` keeps the 404; in `|` and `~` it is a permission like others, and what they refuse together is 401 or 403."""

    feature: ClassVar[str | None] = None
    is_quiet: ClassVar[bool] = False

    def has_permission(self, request: Any, view: Any) -> bool:
        """Raises NotFound where the flag is off; SettingError where nobody names one."""
        name = self.feature or getattr(view, "feature", None)
        if not is_flag_name(name):
            where = type(view if self.feature is None else self).__qualname__
            allowed = f"the name of a flag; {FLAG_NAME}"
            raise SettingError(f"{where}.feature", "(not set)" if name is None else name, allowed)
        request.user  # noqa: B018  # authenticates, and tells the request inside; its flags follow
        is_on = flags_from(request._request).is_on(str(name))
        if not (is_on or self.is_quiet):
            raise NotFound
        return is_on
