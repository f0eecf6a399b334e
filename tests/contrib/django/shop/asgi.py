"""As docs/django.md has it: Django has no lifespan of its own."""

import os
from typing import Any

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.contrib.django.shop.settings")
django_application: Any = get_asgi_application()

from flaggate.contrib.django import gate  # noqa: E402  # once Django is set up
from flaggate.web.asgi import FlaggateMiddleware  # noqa: E402

application = FlaggateMiddleware(django_application, gate())
