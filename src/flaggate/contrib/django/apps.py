"""The app that INSTALLED_APPS names."""

from __future__ import annotations

from typing import Any

from django.apps import AppConfig
from django.core.checks import register
from django.core.signals import setting_changed

from flaggate.runtime.override import made_when_asked

__all__ = ["FlaggateConfig"]


class FlaggateConfig(AppConfig):
    """`flaggate.contrib.django` in INSTALLED_APPS."""

    name = "flaggate.contrib.django"
    label = "flaggate"
    verbose_name = "flaggate"

    def ready(self) -> None:
        """Check the project's settings, and follow those of a test."""
        from flaggate.contrib.django.checks import check  # once all apps are there
        from flaggate.contrib.django.project import gate

        made_when_asked(gate)
        register(check, "flaggate")
        setting_changed.connect(_forget, dispatch_uid="flaggate")


def _forget(setting: str, **_: Any) -> None:
    from flaggate.contrib.django.project import forget

    if setting.startswith(("FLAGGATE_", "SECRET_KEY")):
        forget()
