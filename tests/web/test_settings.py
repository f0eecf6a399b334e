"""What an app says to its middleware and what cannot be used, whichever setting it is."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from flaggate import Gate
from flaggate.errors import SettingError
from flaggate.stores.memory import MemoryStore
from flaggate.web import asgi, wsgi
from tests.web.scenes import Speaks


@pytest.mark.parametrize("wrong", [lambda *_: None, "sqlite://ada:hidden@/flags.db", MemoryStore(), None, Gate])
def test_what_is_no_gate_is_refused_at_once(protocol: Speaks, wrong: Any) -> None:
    """And is not shown: the URL of a store may have a password."""
    with pytest.raises(SettingError, match=r"^gate: <class '.*'>; allowed: what Gate.open\(.*\) returns$") as caught:
        protocol.site(wrong, str)
    assert "hidden" not in f"{caught.value} {caught.value.value}"


@pytest.mark.parametrize("middleware", [asgi.FlaggateMiddleware, wsgi.FlaggateMiddleware])
def test_an_app_in_the_place_of_its_gate_is_refused_at_once(gate: Gate, middleware: Any) -> None:
    with pytest.raises(SettingError, match=r"^gate: <class 'function'>; allowed: what Gate.open"):
        middleware(lambda *_: [], lambda *_: [])
    with pytest.raises(SettingError, match=r"^app: <class 'flaggate.runtime.gate.Gate'>; allowed: an? (ASGI|WSGI) app"):
        middleware(gate, gate)


@pytest.mark.parametrize("wrong", ["", [], 0, False])
def test_what_is_no_table_is_no_empty_one(gate: Gate, protocol: Speaks, wrong: Any) -> None:
    with pytest.raises(SettingError, match=r"^routes: .*; allowed: a table of paths and flags"):
        protocol.site(gate, str, routes=wrong)


@pytest.mark.parametrize(
    ("setting", "value", "module", "library", "said"),
    [
        ("geo", "City.mmdb", "geo", "maxminddb", "geo: City.mmdb; allowed: a City file, after pip install 'flaggate[geoip]' ("),
        ("geo", "City.mmdb", "geo", "geoip2.database", "geo: City.mmdb; allowed: a City file, after pip install 'flaggate[geoip]' ("),
        ("secret_keys", ["hidden"], "visitor", "itsdangerous",
         "secret_keys: (not shown); allowed: keys, after pip install 'flaggate[visitor]' ("),
    ],
)  # fmt: skip
def test_a_setting_whose_library_is_missing_names_the_extra(
    gate: Gate, protocol: Speaks, monkeypatch: pytest.MonkeyPatch,
    setting: str, value: Any, module: str, library: str, said: str,
) -> None:  # fmt: skip
    monkeypatch.delitem(sys.modules, f"flaggate.web.{module}", raising=False)
    monkeypatch.setitem(sys.modules, library, None)  # Python's own way to say: not to be imported
    with pytest.raises(SettingError) as caught:
        protocol.site(gate, str, **{setting: value})
    assert str(caught.value).startswith(said)
    assert library in str(caught.value)
    assert "hidden" not in str(caught.value)
