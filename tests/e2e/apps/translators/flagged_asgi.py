"""With the lines of docs/django.md."""

from flaggate.contrib.django import gate
from flaggate.web.asgi import FlaggateMiddleware

from .asgi import application as django_application

application = FlaggateMiddleware(django_application, gate())
