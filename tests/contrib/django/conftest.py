"""The shop is set up when these tests are collected; a process has one Django. Each test has a gate of its own."""

from __future__ import annotations

import os
from collections.abc import Iterator

import django
import pytest

os.environ["DJANGO_SETTINGS_MODULE"] = "tests.contrib.django.shop.settings"
django.setup()
del os.environ["DJANGO_SETTINGS_MODULE"]  # it is not for what other tests start

from django.contrib.auth.models import User  # noqa: E402  # once Django is set up
from django.core.cache import cache  # noqa: E402
from django.urls import set_script_prefix  # noqa: E402

from flaggate.contrib.django.project import forget  # noqa: E402
from tests.contrib.django.scenes import ShopBoard  # noqa: E402


@pytest.fixture(autouse=True)
def _of_its_own() -> Iterator[None]:
    """No gate of the test before, and no page that it cached."""
    forget()
    cache.clear()
    yield
    set_script_prefix("/")
    forget()


@pytest.fixture
def board(_of_its_own: None) -> ShopBoard:
    return ShopBoard()


@pytest.fixture
def ada(db: None) -> User:
    """One of the staff."""
    return User.objects.create_user("ada", pk=7, is_staff=True)


@pytest.fixture
def bob(db: None) -> User:
    """A customer."""
    return User.objects.create_user("bob", pk=8)
