from django.contrib import admin
from django.contrib.auth.views import LoginView, LogoutView
from django.urls import path

from flaggate.contrib.django import feature_required
from invoicing.models import Person
from invoicing.views import Invoices, invoice

insights = path("insights", Invoices.as_view(template_name="overhauled/insights.html"), name="insights")
urlpatterns = [
    path("", Invoices.as_view()),
    path("invoices", Invoices.as_view(), name="invoices"),
    path("invoices/<number>", invoice, name="invoice"),
    feature_required("new-invoicing")(insights),  # for everyone else it is not found
    path("sign-in", LoginView.as_view(template_name="sign_in.html", extra_context={"people": Person.objects.all})),
    path("sign-out", LogoutView.as_view(), name="sign-out"),
    path("admin/", admin.site.urls),
]
