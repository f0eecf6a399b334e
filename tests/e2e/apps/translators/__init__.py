"""A Django project of two apps from PyPI: django-allauth signs people up and in, django-rosetta has the staff translate.

`settings` and `urls` are the project as it was; `flagged_settings`, `flagged_urls` and `flagged_asgi` add what docs/django.md says.
"""
