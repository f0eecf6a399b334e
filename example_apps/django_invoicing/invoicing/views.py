from typing import Any

from django.db.models import Count, F, QuerySet, Sum
from django.db.models.functions import TruncMonth
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, render
from django.views.generic import ListView

from flaggate.contrib.django import feature_required, flags_from
from invoicing.models import Invoice


def who(request: Any) -> dict[str, Any]:
    """What rules may read of a person beside Django's own; each is looked up only if one does."""
    user = request.user  # Django looks it up when it is used; a stranger has neither of them
    return {"account": lambda: getattr(user, "account", None), "tier": lambda: getattr(user, "tier", None)}


def footer(request: Any) -> dict[str, Any]:
    return {"decision": lambda: flags_from(request).decide("new-invoicing")}


class OldInvoices(ListView):
    template_name = "old/invoices.html"

    def get_queryset(self) -> QuerySet[Invoice]:
        return Invoice.objects.filter(account=self.request.user.account).order_by("-number")


@feature_required("new-invoicing", otherwise=OldInvoices.as_view())
class Invoices(OldInvoices):
    template_name = "overhauled/invoices.html"

    def get_context_data(self, **words: Any) -> dict[str, Any]:
        sums = {"status": F("status"), "customer": F("customer"), "month": TruncMonth("issued")}
        for name, by in sums.items():
            groups = self.get_queryset().values(name=by)
            words[name] = groups.annotate(pence=Sum("total"), count=Count("pk")).order_by("-pence")
        return super().get_context_data(**words)


def invoice(request: Any, number: str) -> HttpResponse:
    look = "overhauled" if flags_from(request)["new-invoicing"] else "old"
    found = get_object_or_404(Invoice, account=request.user.account, number=number)
    return render(request, f"{look}/invoice.html", {"invoice": found})
