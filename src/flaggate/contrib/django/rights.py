"""What Django's permissions let a user do."""

from __future__ import annotations

from typing import Any, Final

from django.http import HttpRequest

from flaggate.runtime.rights import Right

__all__ = ["rights_of"]

_PERMISSIONS: Final = {Right.VIEW: "view_row"}
"""What Django calls the one that it knows; the others have their own names."""


def rights_of(request: HttpRequest) -> frozenset[Right]:
    """Those of the request's user."""
    user: Any = request.user  # whatever AUTH_USER_MODEL names: the admin demands that it has permissions
    return frozenset(right for right in Right if user.has_perm(f"flaggate.{_PERMISSIONS.get(right, str(right))}"))
