"""The store for a URL."""

import subprocess
import sys
from pathlib import Path

import pytest

from flaggate.errors import StoreError
from flaggate.stores import open_store
from flaggate.stores.memory import MemoryStore
from flaggate.stores.sql import SqlStore


def test_memory() -> None:
    assert isinstance(open_store("memory://"), MemoryStore)


def test_a_sqlite_file_is_not_made_before_it_is_used(tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path}/flags.db")
    assert isinstance(store, SqlStore)
    assert list(tmp_path.iterdir()) == []


def test_create_is_passed_on(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no such file"):
        open_store(f"sqlite:///{tmp_path}/flags.db", create=False).revision()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("flags.db", "allowed: sqlite:///PATH"),
        ("", "allowed: sqlite:///PATH"),
        ("memory", "memory://"),
        ("mongodb://localhost/flags", "allowed: sqlite:///PATH"),
        ("sqlite:flags.db", "no URL of a store; name a file: sqlite:///flags.db"),
        ("sqlite://flags.db", "names no file; name a file: sqlite:///flags.db"),
        ("sqlite://", "say memory://"),
        ("sqlite:///", "say memory://"),
        ("sqlite:///:memory:", "say memory://"),
        ("sqlite:///file:flags.db?mode=memory&uri=true", "say memory://"),
    ],
)
def test_a_url_that_names_no_store_says_what_is_allowed(url: str, says: str) -> None:
    with pytest.raises(StoreError) as caught:
        open_store(url)
    assert says in str(caught.value)
    assert str(caught.value).startswith(f"{url}: ")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("mongodb://app:hunter2@db.example.com/flags", "mongodb://app:***@db.example.com/flags"),
        ("mongodb://app:hunter2@/@db.example.com/flags", "mongodb://app:***@db.example.com/flags"),
        ("mongodb://:hunter2@db.example.com", "mongodb://:***@db.example.com"),
        ("sqlite://app:hunter2@", "sqlite://app:***@"),
        ("sqlite://app:hunter2@host:port/flags.db", "sqlite://app:***@host:port/flags.db"),
    ],
)
def test_a_password_is_not_shown_by_an_error(url: str, shown: str) -> None:
    with pytest.raises(StoreError) as caught:
        open_store(url)
    assert caught.value.url == shown
    assert "hunter2" not in str(caught.value)


def test_a_password_is_not_shown_by_a_store() -> None:
    assert open_store("sqlite://app:hunter2@/flags.db").url == "sqlite://app:***@/flags.db"


def test_no_driver_is_imported_before_its_store_is_asked_for() -> None:
    code = "import sys; from flaggate.stores import open_store; open_store('memory://'); assert 'sqlalchemy' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
