"""A small shop. Real servers are told by the environment what differs."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

_HERE = Path(__file__).parent

SECRET_KEY = "of the shop"
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "tests.contrib.django.shop.urls"
STATIC_URL = "/static/"
USE_TZ = True
INSTALLED_APPS = [
    "django.contrib.contenttypes",
    "django.contrib.auth",
    "rest_framework",
    "rest_framework.authtoken",
    "flaggate.contrib.django",
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "flaggate.contrib.django.FlaggateMiddleware",
]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
SESSION_ENGINE = "django.contrib.sessions.backends.signed_cookies"  # so that a query is the user's own
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]  # quick
CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
TEMPLATES: list[dict[str, Any]] = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [_HERE / "templates"],
        "APP_DIRS": True,  # Django REST framework has pages of its own
        "OPTIONS": {"context_processors": ["flaggate.contrib.django.templating.flags"]},
    },
    {
        "BACKEND": "django.template.backends.jinja2.Jinja2",
        "DIRS": [_HERE / "jinja2"],
        "OPTIONS": {"extensions": ["flaggate.contrib.django.templating.FeatureExtension"]},
    },
]
FLAGGATE_STORE = os.environ.get("FLAGGATE_STORE", "memory://")
FLAGGATE_TRUSTED_PROXIES = json.loads(os.environ.get("SHOP_TRUSTED_PROXIES", "[]"))
