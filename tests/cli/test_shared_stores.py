"""The terminal on the store of a server."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from flaggate import Gate
from flaggate.cli.main import run
from flaggate.errors import StoreError
from flaggate.stores import open_store
from flaggate.web.settings import opened
from tests.cli.conftest import Terminal
from tests.seed import SEED
from tests.shared_servers import new_url

URLS = {
    "postgresql": "postgresql://app:hunter2@db.example.com/flags",
    "redis": "redis://app:hunter2@db.example.com/0",
}


@pytest.fixture(params=URLS)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return new_url(request.param, tmp_path)


def test_it_is_made_by_apply_and_neither_by_a_dry_run_nor_by_a_kill(
    terminal: Terminal, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLAGGATE_STORE", url)
    assert terminal("apply", str(SEED), "--dry-run") == "+ flag new-invoicing\ndry run: nothing was changed\n"
    terminal("kill", "new-invoicing", code=3)
    assert "flaggate apply makes it" in terminal.err
    with pytest.raises(StoreError, match="there is no flaggate store"):
        open_store(url, create=False).revision()
    assert "new store" in terminal("apply", str(SEED))
    assert "unkill" in terminal("kill", "new-invoicing", "--reason", "x")
    assert "KILLED" in terminal("status")


def test_an_apps_own_command_makes_it_too(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Whose gate does not."""
    gate = Gate.open(url)
    assert run(["apply", str(SEED), "--dry-run"], store=gate.store) == 0
    assert run(["kill", "new-invoicing"], store=gate.store) == 3
    assert run(["apply", str(SEED)], store=gate.store) == 0
    assert run(["kill", "new-invoicing", "--reason", "x"], store=gate.store) == 0
    gate.close()
    capsys.readouterr()


@pytest.mark.parametrize("name", URLS)
def test_without_its_driver_it_says_what_to_install(
    terminal: Terminal, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, f"flaggate.stores.{name}", None)
    terminal("status", "--store", URLS[name], code=2)
    assert f"pip install 'flaggate[{name}]'" in terminal.err
    assert "hunter2" not in terminal.err
    with pytest.raises(StoreError, match="pip install"):
        opened({"FLAGGATE_STORE": URLS[name]})


@pytest.mark.parametrize("name", URLS)
def test_a_scheme_that_is_nearly_right(terminal: Terminal, name: str) -> None:
    terminal("status", "--store", URLS[name].replace(name, name[:-1]), code=2)
    assert f"did you mean {name}://app:***@db.example.com" in terminal.err
