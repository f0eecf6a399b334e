"""The site of tests/contrib/behaviour, in the framework that SITE_FRAMEWORK names, for real servers to serve.

The store is named by FLAGGATE_STORE, a City file by SITE_CITIES.
"""

from __future__ import annotations

import os
from typing import Any, Final

from flaggate import Gate
from tests.contrib.behaviour.asking import ROUTES
from tests.contrib.behaviour.frameworks import framework_named

app: Final[Any] = framework_named(os.environ["SITE_FRAMEWORK"]).site(
    Gate.open(os.environ["FLAGGATE_STORE"]),  # Django opens its own
    geo=os.environ["SITE_CITIES"],
    routes=ROUTES,
    secret_keys=["the key of the visitors' cookie"],
    trusted_proxies=["127.0.0.1", "unix"],
)
