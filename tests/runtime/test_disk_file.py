"""The file of the copy on disk: what is written, over what, and beside other processes."""

from __future__ import annotations

import os
import sqlite3
import sys
from contextlib import ExitStack, closing
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Any

import pytest

from flaggate.errors import FlaggateError
from flaggate.runtime.disk import DiskCopy
from flaggate.stores.base import Changes, Row
from tests.runtime.scenes import ROOT, until

PYTHONPATH = os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])


def script(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


def rows(**versions: int) -> tuple[Row, ...]:
    return tuple(Row("flag", name, version, {"version": version}) for name, version in versions.items())


def test_a_change_writes_what_changed_and_nothing_else(tmp_path: Path) -> None:
    """Held by a trigger in the file: it sees what is written."""
    copy, kept = DiskCopy(tmp_path), rows(a=1, b=1, c=1)
    copy.save("s", Changes(1, kept))
    script(copy.path, "CREATE TABLE seen (name)",
          "CREATE TRIGGER adds AFTER INSERT ON rows BEGIN INSERT INTO seen VALUES (new.name); END",
          "CREATE TRIGGER goes AFTER DELETE ON rows BEGIN INSERT INTO seen VALUES ('-' || old.name); END")  # fmt: skip

    def seen() -> set[str]:
        with closing(sqlite3.connect(copy.path, isolation_level=None)) as connection:
            found = {name for (name,) in connection.execute("SELECT name FROM seen")}
            connection.execute("DELETE FROM seen")
            return found

    copy.save("s", Changes(2, (*kept[:2], *rows(d=1))))
    assert seen() == {"-c", "d"}
    other = DiskCopy(tmp_path)  # of another process: it has to look
    other.save("s", Changes(3, rows(a=1, b=2, d=1)))
    assert seen() == {"b"}
    copy.save("s", Changes(4, rows(a=1, b=2, d=2)))  # which did not see what the other one wrote
    assert seen() == {"d"}
    other.save("s", Changes(4, rows(a=1, b=2, d=2)))
    assert seen() == set()
    other.save("s", Changes(4, rows(a=1, b=2, d=2)), is_whole=True)
    assert seen() == set()
    assert other.load() == Changes(4, rows(a=1, b=2, d=2))


def test_a_store_that_was_set_back_says_another_thing_at_the_same_version(tmp_path: Path) -> None:
    copy = DiskCopy(tmp_path)
    copy.save("s", Changes(4, (Row("flag", "a", 2, {"killed": False}),)))
    copy.save("s", Changes(4, (Row("flag", "a", 2, {"killed": True}),)), is_whole=True)
    assert copy.load() == Changes(4, (Row("flag", "a", 2, {"killed": True}),))


def test_a_copy_that_another_one_writes_just_now_waits_for_the_next_round(tmp_path: Path) -> None:
    copy = DiskCopy(tmp_path)
    copy.save("s", Changes(1, rows(a=1)))
    with closing(sqlite3.connect(copy.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(BlockingIOError, match=r"snapshot\.db: database is locked"):
            copy.save("s", Changes(2, rows(a=2)))
    copy.save("s", Changes(2, rows(a=2)))
    assert copy.load() == Changes(2, rows(a=2))


@pytest.mark.parametrize(
    ("theirs", "kept"),
    [(Changes(3, rows(a=3)), Changes(3, rows(a=3))), (Changes(1, rows(b=1)), Changes(2, rows(a=2)))],
)
def test_what_another_one_wrote_since_we_looked_counts(tmp_path: Path, theirs: Changes, kept: Changes) -> None:
    """Newer, it stays; and older, all of it makes way."""
    DiskCopy(tmp_path).save("s", Changes(0, rows(a=1)))

    class Slow(DiskCopy):
        def _due(self, *args: Any, **options: Any) -> Any:
            due, self._due = super()._due(*args, **options), super()._due  # type: ignore[method-assign]  # once
            args[0].execute("COMMIT")  # or the other one would wait for us
            DiskCopy(tmp_path).save("s", theirs)
            args[0].execute("BEGIN")
            return due

    Slow(tmp_path).save("s", Changes(2, rows(a=2)))
    assert DiskCopy(tmp_path).load() == kept


def test_a_copy_that_another_one_made_meanwhile_is_taken(tmp_path: Path) -> None:
    class Slow(DiskCopy):
        def _update(self, *args: Any, **options: Any) -> bool:
            is_there = super()._update(*args, **options)
            if not is_there:
                DiskCopy(tmp_path).save("s", Changes(3, rows(a=3)))
            return is_there

    Slow(tmp_path).save("s", Changes(2, rows(a=2)))
    assert DiskCopy(tmp_path).load() == Changes(3, rows(a=3))


def test_a_copy_that_cannot_be_finished_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        DiskCopy(tmp_path).save("s", Changes(1, (Row("flag", "a", 1, {"no JSON": object()}),)))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="needs flock")
def test_of_several_that_make_a_copy_one_does(tmp_path: Path) -> None:
    import fcntl

    copy, opened = DiskCopy(tmp_path), os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(opened, fcntl.LOCK_EX)
    with pytest.raises(BlockingIOError):
        copy.save("s", Changes(1, ()))
    os.close(opened)
    copy.save("s", Changes(1, ()))
    assert copy.load() == Changes(1, ())


def test_a_copy_of_which_nothing_is_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"snapshot\.db"):
        DiskCopy(tmp_path).head()


HAMMER = """
import sys
from pathlib import Path
from flaggate.runtime.disk import DiskCopy
from flaggate.stores.base import Changes, Row
copy = DiskCopy(Path(sys.argv[1]))
number = int(sys.argv[2])
print("begun", flush=True)
while True:
    rows = tuple(Row("flag", f"flag-{name}", number, {"n": number, "text": "x" * 2000}) for name in range(50))
    try:
        copy.save("s", Changes(number, rows))
    except BlockingIOError:
        pass
    number += 1
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_whenever_a_process_is_killed_the_copy_is_whole_and_goes_on(tmp_path: Path) -> None:
    """Three at a time; each begins where the copy is, and one of them dies wherever it happens to be."""
    copy, last = DiskCopy(tmp_path / "kept"), 1
    copy.save("s", Changes(last, ()))
    with ExitStack() as stack:
        running = []
        for _ in range(12):
            command = [sys.executable, "-c", HAMMER, str(copy.path.parent), str(last)]
            process = stack.enter_context(Popen(command, stdout=PIPE, env=os.environ | {"PYTHONPATH": PYTHONPATH}))
            stack.callback(process.kill)
            running.append(process)
            assert process.stdout is not None
            process.stdout.readline()
            until(lambda before=last: _loaded(copy) > before, "somebody writes")  # type: ignore[misc]  # a default binds it
            if len(running) > 2:
                victim = running.pop(0)
                victim.kill()
                victim.wait()
            before, last = last, _loaded(copy)
            assert before < last


def _loaded(copy: DiskCopy) -> int:
    """The revision of the copy, all of whose rows are of it. Raises FlaggateError where it is not whole."""
    for _ in range(100):
        try:
            found = copy.load()
        except FlaggateError as error:
            if "locked" not in str(error):  # somebody writes, and has it next
                raise
            continue
        assert found is not None
        assert {row.version for row in found.rows} <= {found.revision}
        return found.revision
    raise AssertionError("nobody else gets at it")
