"""The shop's paths."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.urls import path

from tests.contrib.django.shop import views

urlpatterns = [
    path("ask/<name>", views.ask),
    path("aask/<name>", views.ask_async),
    path("loop/<name>", views.ask_on_loop),
    path("auser/<name>", views.ask_after_auser),
    path("fail/<name>", views.fail),
    path("in/<user>/<name>", views.sign_in),
    path("stream/<name>", views.stream),
    path("astream/<name>", views.stream_async),
    path("file/<name>", views.file),
    path("nobody/address", views.address),
]


def handler404(request: HttpRequest, exception: Exception) -> HttpResponse:
    return HttpResponse("nothing here, says the shop", status=404)
