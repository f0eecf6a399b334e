"""A Django project for the cases, as a plugin of a pytest of their own: a process has one Django, and other tests theirs."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from importlib import import_module
from typing import TYPE_CHECKING

import django
import pytest
from django.apps import apps
from django.conf import settings
from django.core.management import call_command
from django.db import connection, connections

if TYPE_CHECKING:
    from flaggate.contrib.django.store import DjangoStore

pytest.register_assert_rewrite("flaggate.testing.contract")

_DATABASE = json.loads(os.environ["FLAGGATE_TEST_DATABASE"])
_NOT_MIGRATED = {"ENGINE": "django.db.backends.sqlite3", "NAME": os.environ["FLAGGATE_TEST_NOT_MIGRATED"]}
if _DATABASE["ENGINE"].endswith("mysql"):
    import_module("pymysql").install_as_MySQLdb()

settings.configure(
    SECRET_KEY="for the tests",
    INSTALLED_APPS=[
        "django.contrib.admin",
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "django.contrib.messages",
        "django.contrib.sessions",
        "flaggate.contrib.django",
    ],
    DATABASES={
        "default": _DATABASE,
        "not-migrated": _NOT_MIGRATED,
        "memory": _NOT_MIGRATED | {"NAME": ":memory:"},
        "relative": _NOT_MIGRATED | {"NAME": "relative.sqlite3"},
    },
    FLAGGATE_STORE="memory://",
    MIDDLEWARE=[
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "django.contrib.messages.middleware.MessageMiddleware",
        "flaggate.contrib.django.FlaggateMiddleware",
    ],
    ROOT_URLCONF="tests.contrib.django_store.urls",
    STATIC_URL="/static/",
    TEMPLATES=[
        {
            "BACKEND": "django.template.backends.django.DjangoTemplates",
            "APP_DIRS": True,
            "OPTIONS": {
                "context_processors": [
                    "django.template.context_processors.request",
                    "django.contrib.auth.context_processors.auth",
                    "django.contrib.messages.context_processors.messages",
                ]
            },
        }
    ],
    USE_TZ=False,
)
django.setup()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "not_on(vendor, why): there is nothing to see on this database")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what there is not to see: CI takes a test that is skipped for one whose part is missing."""
    out = [item for item in items if _is_out(item)]
    config.hook.pytest_deselected(items=out)
    items[:] = [item for item in items if item not in out]


def _is_out(item: pytest.Item) -> bool:
    return any(connection.vendor == marker.args[0] for marker in item.iter_markers("not_on"))


@pytest.fixture(scope="session")
def tables() -> None:
    """What `manage.py migrate` makes."""
    call_command("migrate", verbosity=0)
    connections.close_all()


@pytest.fixture
def store(tables: None) -> Iterator[DjangoStore]:
    """The store, empty."""
    from flaggate.contrib.django.store import DjangoStore

    for table in (
        *apps.get_app_config("flaggate").get_models(),
        apps.get_model("auth", "Group"),
        apps.get_model("auth", "User"),
    ):
        table._default_manager.all().delete()
    connections.close_all()
    store = DjangoStore()
    yield store
    store.close()
    connections.close_all()
