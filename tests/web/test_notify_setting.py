"""FLAGGATE_NOTIFY and `notify=`: a file that cannot be used is refused at start, without loading Apprise."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import pytest

from flaggate import Gate
from flaggate.errors import SettingError
from flaggate.runtime.notify import checked_config
from flaggate.stores.memory import MemoryStore
from flaggate.web.settings import opened

ALLOWED = "the file of an Apprise configuration, such as apprise.yml"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "apprise.yml"
    path.write_text("urls:\n  - json://localhost\n")
    return path


def refused(notify: Any, **config: Any) -> str:
    with pytest.raises(SettingError) as caught:
        opened({"FLAGGATE_STORE": "memory://", "FLAGGATE_NOTIFY": notify} | config)
    return str(caught.value)


def test_a_file_is_taken(config: Path) -> None:
    for path in (config, str(config)):
        opened({"FLAGGATE_STORE": "memory://", "FLAGGATE_NOTIFY": path}).close()
        opened({"FLAGGATE_NOTIFY": path}, MemoryStore()).close()
        Gate.open("memory://", notify=path).close()


@pytest.mark.parametrize("wrong", ["", 3, True, b"apprise.yml", ["apprise.yml"]])
def test_what_is_no_file_is_refused(wrong: Any) -> None:
    assert refused(wrong) == f"FLAGGATE_NOTIFY: {wrong!r}; allowed: {ALLOWED}"


def test_a_file_that_cannot_be_read_keeps_no_worker_from_serving(tmp_path: Path) -> None:
    """It may be replaced just now; who would tell people says that nobody is told."""
    opened({"FLAGGATE_NOTIFY": tmp_path / "gone.yml"}, MemoryStore()).close()
    Gate.open("memory://", notify=tmp_path / "gone.yml").close()
    with pytest.raises(SettingError, match=r"^notify: .*gone.yml; allowed: .* \(.*No such file or directory"):
        checked_config(tmp_path / "gone.yml")
    (tmp_path / "latin.yml").write_bytes(b"\xe4")
    with pytest.raises(SettingError, match="utf-8"):
        checked_config(tmp_path / "latin.yml")


def test_without_apprise_the_extra_is_named(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def find(name: str, package: str | None = None) -> ModuleSpec | None:
        return None if name == "apprise" else importlib.util.find_spec(name, package)

    monkeypatch.setattr("flaggate.runtime.notify.find_spec", find)
    assert refused(config) == f"FLAGGATE_NOTIFY: {config}; allowed: {ALLOWED}, after pip install 'flaggate[notify]'"


def test_a_gate_loads_nothing_for_it(config: Path) -> None:
    """What takes a second waits until there is something to tell."""
    code = f"import sys; from flaggate import Gate; Gate.open('memory://', notify={str(config)!r}); print('apprise' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "False\n"
