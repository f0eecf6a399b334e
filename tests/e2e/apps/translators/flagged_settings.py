"""With the lines of docs/django.md, and nothing else."""

from __future__ import annotations

from .settings import *  # noqa: F403  # as projects extend their settings
from .settings import INSTALLED_APPS, MIDDLEWARE

ROOT_URLCONF = "translators.flagged_urls"
INSTALLED_APPS += ["flaggate.contrib.django"]
MIDDLEWARE += ["flaggate.contrib.django.FlaggateMiddleware"]
FLAGGATE_STORE = "django"
FLAGGATE_ROUTES = {"/translations/files/third-party/*": "third-party", "/accounts/password/*": "passwords"}
