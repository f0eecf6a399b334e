"""People, clocks, files and two tickers on the store on the Django ORM: the machine of `tests.runtime.moving`."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Final

import pytest
from django.apps import apps
from hypothesis import HealthCheck, settings

from flaggate.contrib.django.store import DjangoStore
from flaggate.stores.base import Store
from tests.runtime.moving import MovingMachine

EXAMPLES: Final = int(os.environ.get("FLAGGATE_MOVING_EXAMPLES", "380")) // 17


class OnDjango(MovingMachine):
    def make_store(self, clock: Callable[[], float]) -> Store:
        for table in apps.get_app_config("flaggate").get_models():
            table._base_manager.all().delete()
        return DjangoStore(clock=clock)


why = "what differs between databases is in the contract"


@pytest.mark.usefixtures("tables")
@pytest.mark.not_on("postgresql", why)
@pytest.mark.not_on("mysql", why)
class TestOnDjango(OnDjango.TestCase):  # type: ignore[misc,valid-type]  # Hypothesis makes it
    settings = settings(
        deadline=None, max_examples=EXAMPLES, stateful_step_count=50, suppress_health_check=list(HealthCheck)
    )
