import json
from random import Random

from django.conf import settings
from django.contrib.auth.hashers import make_password
from django.contrib.auth.models import Group
from django.contrib.staticfiles.management.commands import runserver
from django.core.management import call_command

from invoicing.models import Invoice, Person


class Command(runserver.Command):
    help = "As runserver, once the tables, the people and their invoices are there."

    def handle(self, *args: object, **options: object) -> None:
        call_command("migrate", verbosity=0)
        if not Person.objects.exists():
            load()
        super().handle(*args, **options)


def load() -> None:
    people, invoices = (json.loads((settings.SHARED / f"{name}.json").read_bytes()) for name in ("people", "invoices"))
    password = make_password("invoices")  # everybody's
    for one in people:
        who = {"username": one["user"], "first_name": one["name"], "account": one["account"], "tier": one["tier"]}
        person = Person.objects.create(**who, password=password, is_staff=one["staff"], is_superuser=one["staff"])
        person.groups.set([Group.objects.get_or_create(name=name)[0] for name in one["groups"]])
    for account in {one["account"] for one in people}:
        Invoice.objects.bulk_create(Invoice(account=account, **one) for one in Random(account).sample(invoices, 9))
