"""history: for people, for programs, and for export."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from tests.cli.conftest import OWNER, Terminal

SWITCH = f'[flags.s]\ndescription = "x"\nowner = "{OWNER}"\n'


@pytest.fixture
def flipped(terminal: Terminal, write: Callable[[str], str]) -> Terminal:
    """A switch that was turned on and off 30 times: 61 events."""
    terminal("apply", write(SWITCH))
    for _ in range(30):
        terminal("on", "s")
        terminal("off", "s")
    return terminal


def numbers(out: str) -> list[int]:
    return [json.loads(line)["id"] for line in out.splitlines()]


def test_lines_for_export(flipped: Terminal) -> None:
    """Oldest first, and each is what `--json` has."""
    assert numbers(flipped("history", "--jsonl", "--all")) == list(range(1, 62))
    lines = [json.loads(line) for line in flipped.out.splitlines()]
    assert lines == flipped.json("history", "--all")
    assert lines[0].keys() == {
        "id", "at", "kind", "name", "verb", "actor", "reason", "before", "after", "evidence",
    }  # fmt: skip
    assert flipped.out.isascii()


def test_how_many(flipped: Terminal) -> None:
    assert numbers(flipped("history", "--jsonl")) == list(range(12, 62))
    assert numbers(flipped("history", "--jsonl", "--limit", "2")) == [60, 61]
    assert len(flipped("history", "--all").splitlines()) == 62
    assert numbers(flipped("history", "s", "--jsonl", "--all")) == list(range(1, 62))


def test_what_came_after_an_event(flipped: Terminal) -> None:
    """All of it: who exports misses none, however many came meanwhile."""
    assert numbers(flipped("history", "--jsonl", "--after", "3")) == list(range(4, 62))
    assert [event["id"] for event in flipped.json("history", "s", "--after", "60")] == [61]
    assert flipped("history", "s", "--jsonl", "--after", "61") == ""
    assert flipped.json("history", "s", "--after", "61") == []
    flipped("history", "t", "--after", "61", code=2)
    assert 'there is no flag "t"' in flipped.err


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("--all", "--limit", "3"), "--all and --limit contradict each other"),
        (("--jsonl", "--json"), "--json prints one list, --jsonl a line for each event"),
        (("--after", "3", "--limit", "1"), "--after is all that came after that event, --limit the newest of all"),
        (("--limit", "0"), "0 is not in the range 1<=x<="),
        (("--after", "x"), "'x' is not a valid integer"),
    ],
)
def test_wrong_calls(flipped: Terminal, args: tuple[str, ...], words: str) -> None:
    flipped("history", *args, code=2)
    assert words in flipped.err + flipped.out


def test_what_is_kept_for_the_clock_is_in_words(terminal: Terminal, write: Callable[[str], str]) -> None:
    """Who asked is the actor anyway; an approval is somebody's; a kill of a stranger during the watch is break-glass."""
    stages = 'stages = [{ name = "half", share = 50, soak = "0s", approval = true }, { name = "all" }]\n'
    terminal("apply", write(SWITCH + stages + 'guards = [{ metric = "errors", limit = "1%" }]\n'))
    terminal("start", "s")
    terminal("approve", "s", "--as", "lead@example.com")
    terminal("advance", "s")
    terminal("kill", "s", "--as", "on-call@example.com")
    out = terminal("history")
    assert "asked by" not in out
    assert "approval nobody -> by lead@example.com" in out
    assert "killed no -> yes, break-glass" in out
