"""A permission of Django REST framework that asks when the framework has authenticated.

class Invoices(APIView):
    permission_classes = [IsAuthenticated, FeatureRequired]
    feature = "new-invoicing"
"""

from __future__ import annotations

from typing import Any, ClassVar

from rest_framework.exceptions import NotFound  # type: ignore[import-untyped]  # it has no types
from rest_framework.permissions import BasePermission  # type: ignore[import-untyped]  # it has no types

from flaggate.contrib.django.middleware import flags_from
from flaggate.errors import SettingError
from flaggate.web.routes import FLAG_NAME, is_flag_name

__all__ = ["FeatureRequired"]


class FeatureRequired(BasePermission):  # type: ignore[misc]  # of no type, as its base
    """404 for who does not have the view's `feature`, as if the view were not there. A subclass may name the feature,
    for views that are functions: `@permission_classes([NewInvoicing])`."""

    feature: ClassVar[str | None] = None

    def has_permission(self, request: Any, view: Any) -> bool:
        """Raises NotFound where the flag is off; SettingError where nobody names one."""
        name = self.feature or getattr(view, "feature", None)
        if not is_flag_name(name):
            where = type(view if self.feature is None else self).__qualname__
            allowed = f"the name of a flag; {FLAG_NAME}"
            raise SettingError(f"{where}.feature", "(not set)" if name is None else name, allowed)
        request.user  # noqa: B018  # authenticates, and tells the request inside; its flags follow
        if not flags_from(request._request).is_on(str(name)):
            raise NotFound
        return True
