"""flaggate in a Django project: a middleware, `request.flags`, `feature_required`, and `{% feature %}` in templates.

INSTALLED_APPS = [..., "flaggate.contrib.django"]
MIDDLEWARE = [..., "flaggate.contrib.django.FlaggateMiddleware"]  # below AuthenticationMiddleware
FLAGGATE_STORE = "django"
"""

from flaggate.contrib.django.gating import FeatureRequiredMixin, feature_required
from flaggate.contrib.django.middleware import FlaggateMiddleware, Flags, aflags_from, flags_from
from flaggate.contrib.django.project import gate

__all__ = [
    "FeatureRequiredMixin",
    "FlaggateMiddleware",
    "Flags",
    "aflags_from",
    "feature_required",
    "flags_from",
    "gate",
]
