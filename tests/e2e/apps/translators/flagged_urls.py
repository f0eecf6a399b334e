"""The same paths, each app behind a flag."""

from __future__ import annotations

from django.urls import include, path

from flaggate.contrib.django import feature_required

from .urls import home, static

urlpatterns = [
    home,
    static,
    feature_required("accounts")(path("accounts/", include("allauth.urls"))),
    feature_required("translations")(path("translations/", include("rosetta.urls"))),
]
