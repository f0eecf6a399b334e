"""The project's paths before flaggate."""

from __future__ import annotations

from django.contrib.staticfiles.views import serve
from django.urls import include, path, re_path
from django.views.generic import TemplateView

home = path("", TemplateView.as_view(template_name="home.html"), name="home")
static = re_path(r"^static/(?P<path>.*)$", serve, {"insecure": True})
urlpatterns = [
    home,
    static,
    path("accounts/", include("allauth.urls")),
    path("translations/", include("rosetta.urls")),
]
