"""What a process pays: no query and no file in a decision, few imports, and rooms that import one way."""

from __future__ import annotations

import ast
import json
import sys
from functools import cache
from pathlib import Path

import pytest

import flaggate
from flaggate.rollout.state import Verb
from flaggate.stores.sql import SqlStore
from tests.runtime.scenes import FLAGS, FRIENDS, bring, run, turn

SOURCE = Path(flaggate.__file__).parent
MODULES = sorted(SOURCE.rglob("*.py"))
ROOMS = ("errors", "flags", "rollout", "decide", "stores", "runtime", "web", "console", "contrib", "cli", "testing")
"""In the order of the arrows: a room imports those to its left, and itself."""


def dotted(path: Path) -> str:
    parts = path.relative_to(SOURCE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


# --- deciding -------------------------------------------------------------------------------


def test_ten_thousand_decisions_make_no_query_and_open_no_file(store: SqlStore, tmp_path: Path) -> None:
    """Python tells its auditors of much: a file, an import, code that is compiled. Of id() too, which goes nowhere."""
    bring(store, FLAGS + FRIENDS)
    for name in ("banner", "tiered", "friendly"):
        turn(store, Verb.ON, name)
    turn(store, Verb.START, "half")
    store.close()
    script = """
import json, sys, threading
from collections import Counter
import sqlalchemy as sa
from flaggate import Context, Gate

asking, queries, events = threading.get_ident(), Counter(), Counter()
is_watched = False

def hook(event, _):
    if event != "builtins.id" and is_watched and threading.get_ident() == asking:
        events[event] += 1

def ask(gate, times):
    for number in range(times):
        context = Context(f"user-{number}", tier="pro")
        gate.is_on("half", context)
        gate.decide("friendly", context)
        with gate.visit(context) as visit:
            gate.is_on("banner"); visit.decide("tiered"); gate.decisions()
            visit.identify(user=f"another-{number}")
            gate.is_on("half")

sys.addaudithook(hook)
sa.event.listen(sa.Engine, "before_cursor_execute", lambda *_: queries.update([is_watched and threading.get_ident() == asking]))
gate = Gate.open(sys.argv[1])
ask(gate, 1)
queries.clear()
is_watched = True
ask(gate, 10_000)
counted = dict(events), queries[True]
open("/dev/null").close()
gate.store.history("half")
print(json.dumps([*counted, events["open"] > 0, queries[True] > 0]))
"""
    assert json.loads(run(tmp_path, script, store.url)) == [{}, 0, True, True], "and the counting counts"


# --- imports --------------------------------------------------------------------------------


def test_importing_the_package_loads_no_framework_and_starts_nothing(tmp_path: Path) -> None:
    script = """
import json, sys, threading
before = set(sys.modules)
import flaggate
print(json.dumps([sorted({name.partition(".")[0] for name in sys.modules.keys() - before}), threading.active_count()]))
"""
    loaded, threads = json.loads(run(tmp_path, script))
    heavy = {
        "sqlalchemy", "sqlite3", "click", "rich", "packaging", "dataclasses", "asyncio", "logging", "django", "flask",
        "starlette", "fastapi",
    }  # fmt: skip
    assert heavy & set(loaded) == set()
    assert "flaggate" in loaded
    assert threads == 1


@pytest.mark.usefixtures("measured")
def test_asking_a_store_in_memory_loads_no_driver_and_no_event_loop(tmp_path: Path) -> None:
    script = """
import json, logging, sys
logging.disable()
before = set(sys.modules)
import flaggate
flaggate.Gate.open("memory://").is_on("banner", flaggate.Context("ada"))
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules.keys() - before})))
"""
    loaded = set(json.loads(run(tmp_path, script)))
    assert loaded & {"sqlalchemy", "sqlite3", "asyncio", "click", "rich"} == set()
    assert "mmh3" in loaded


def test_the_public_names() -> None:
    from flaggate import Context, Decision, Flag, FlaggateError, Gate, Guard, Stage

    assert Flag.__module__ == Stage.__module__ == Guard.__module__ == "flaggate.flags.model"
    assert issubclass(FlaggateError, Exception)
    assert {Context, Decision, Flag, FlaggateError, Gate, Guard, Stage} == {
        getattr(flaggate, name) for name in flaggate.__all__
    }
    questions = {"is_on", "decide", "decisions", "explain", "visit", "close", "open"}
    assert questions <= set(dir(Gate))
    with pytest.raises(AttributeError, match="module 'flaggate' has no attribute 'Flog'"):
        flaggate.Flog  # noqa: B018  # the access is the point


IMPORTING = """
import gc, importlib, os, sys
from contextlib import suppress

gc.disable()  # a hundred times over it would look through the libraries

libraries, ours = (words.split() for words in sys.argv[1:])
for library in libraries:
    with suppress(ImportError):  # some are for type checkers only
        importlib.import_module(library)
failed = []
for name in ours:
    child = os.fork()
    if child == 0:
        status = 1
        try:
            importlib.import_module(name)
            status = 0
        finally:
            os._exit(status)
    if os.waitpid(child, 0)[1]:
        failed.append(name)
print(failed)
"""

PROJECT = """
import django
from django.conf import settings

apps = "admin", "auth", "contenttypes", "messages", "sessions"
installed = [*(f"django.contrib.{app}" for app in apps), "flaggate.contrib.django"]
settings.configure(SECRET_KEY="x", INSTALLED_APPS=installed, FLAGGATE_STORE="memory://")
django.setup()
"""


def test_every_module_imports_on_its_own(tmp_path: Path) -> None:
    """Each in a fork of an interpreter with none of ours: a cycle would show. What Django imports, in a project."""
    names = [dotted(path) for path in MODULES if path.name != "__main__.py"]
    of_django = [name for name in names if name.startswith("flaggate.contrib.django")]
    others = [name for name in names if name not in of_django]
    libraries = {name.partition(".")[0] for path in MODULES for name, _ in imported(path)} - {"flaggate"}
    libraries -= {"django", "rest_framework", *sys.stdlib_module_names}
    assert len(names) > 30
    assert run(tmp_path, IMPORTING, " ".join(libraries), " ".join(others)) == "[]\n"
    assert run(tmp_path, PROJECT + IMPORTING, "", " ".join(of_django)) == "[]\n"


@cache
def imported(path: Path) -> list[tuple[str, int]]:
    """The modules that a file names in its import statements, wherever they stand, with their lines."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [(alias.name, node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: a relative import hides its room"
            found.append((node.module or "", node.lineno))
    return found


def test_the_rooms_import_one_way() -> None:
    wrong = []
    for path in MODULES:
        room = room_of(dotted(path))
        for name, line in imported(path):
            if name.split(".")[0] == "flaggate" and ROOMS.index(room_of(name)) > ROOMS.index(room):
                wrong.append(f"{path}:{line}: {room} imports {name}")
    assert wrong == []


def room_of(module: str) -> str:
    """The room of a module; who stands at the front door (`flaggate`, `python -m flaggate`) may import any.

    A command for Django's manage.py is the terminal's, wherever Django looks for it.
    """
    if ".management." in module:
        return "cli"
    room = module.split(".")[1:2]
    return "cli" if room in ([], ["__main__"]) else room[0]


@pytest.mark.parametrize(
    ("library", "homes"),
    [
        (
            "sqlalchemy",
            [
                "stores/postgresql.py",
                "stores/sql.py",
                "stores/sql_contents.py",
                "stores/sql_counts.py",
                "stores/sql_store.py",
                "stores/tables.py",
            ],
        ),
        ("mmh3", ["decide/bucket.py"]),
    ],
)
def test_a_driver_is_imported_where_it_is_at_home_and_nowhere_else(library: str, homes: list[str]) -> None:
    importers = {path for path in MODULES for name, _ in imported(path) if name.split(".")[0] == library}
    assert importers == {SOURCE / home for home in homes}
