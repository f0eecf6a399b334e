from collections.abc import Callable
from typing import Any

import pytest
from app import create_app
from fastapi.testclient import TestClient


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> TestClient:
    monkeypatch.setenv("FLAGGATE_STORE", "memory://")
    client = TestClient(create_app())
    client.post("/sign-in", data={"user": "user-7"})
    return client


@pytest.mark.with_and_without("new-invoicing")
def test_pages_and_api(client: TestClient, overridden: dict[str, bool]) -> None:
    is_on = overridden["new-invoicing"]
    assert ("INVOICE REGISTER" not in client.get("/invoices").text) is is_on
    assert ("lines" in client.get("/api/invoices").json()[0]) is is_on
    assert {client.get(path).status_code for path in ("/insights", "/api/invoices/totals")} == {200 if is_on else 404}


def test_who_asks_is_who_has_signed_in(client: TestClient, override_flags: Callable[[dict[str, Any]], None]) -> None:
    override_flags({"new-invoicing": lambda context: context.tier == "enterprise"})
    assert client.get("/insights").status_code == 404
    client.post("/sign-in", data={"user": "user-5"})
    assert client.get("/insights").status_code == 200
