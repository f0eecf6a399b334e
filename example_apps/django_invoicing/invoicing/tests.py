from django.test import TestCase

from flaggate.testing import override
from invoicing.management.commands.demo import load
from invoicing.models import Person


class Pages(TestCase):
    def setUp(self) -> None:
        load()
        self.client.force_login(Person.objects.get(username="user-5"))

    @override({"new-invoicing": lambda context: context.tier == "enterprise"})
    def test_those_who_have_it(self) -> None:
        self.assertContains(self.client.get("/invoices"), 'href="/insights"')
        self.assertContains(self.client.get("/insights"), "Month by month")

    def test_everyone_else(self) -> None:  # in tests a rollout is a draft
        self.assertContains(self.client.get("/invoices"), "INVOICE REGISTER")
        self.assertEqual(self.client.get("/insights").status_code, 404)
