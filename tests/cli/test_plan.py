"""plan: who would have a flag in each stage, before anything starts."""

from __future__ import annotations

import io
import json
import os
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flaggate import Context, Gate
from flaggate.cli.demo.people import make_people
from flaggate.stores import open_store
from flaggate.stores.base import Write
from tests import oracle
from tests.cli.conftest import OWNER, Terminal
from tests.seed import SEED

PEOPLE = """\
{"user": "u-1", "staff": true}
{"user": "u-2", "city": "Manchester", "country": "GB"}
{"user": "u-3", "city": "Manchester", "country": "GB"}

{"user": 4, "groups": ["beta"]}
{"visitor": "v-1", "city": "Leeds", "tier": null}
{"user": "u-9", "account": "acme-de", "tier": "enterprise"}
{"tier": "free"}
"""


@pytest.fixture
def contexts(tmp_path: Path) -> Callable[..., str]:
    """Writes a file of contexts and returns its name, which is one without its folder."""

    def written(text: str, name: str = "people.jsonl") -> str:
        (tmp_path / name).write_text(text)
        return name

    return written


def test_who_would_have_it_in_each_stage(applied: Terminal, contexts: Callable[..., str]) -> None:
    out = applied("plan", "new-invoicing", "--contexts", contexts(PEOPLE))
    assert [line.split("  ")[0] for line in out.splitlines()[2:7]] == list(oracle.STAGES)
    assert [" ".join(line.split()) for line in out.splitlines()] == [
        "new-invoicing, 7 contexts of people.jsonl:",
        "stage lets in have it new who",
        "internal staff 1 +1 u-1",
        "manchester 50 % of city Manchester and country GB 3 +2 u-1, u-2, u-3",
        "beta group beta or tier enterprise 4 +1 u-1, u-2, u-3, 4",
        "tenth 10 % of everyone 4 u-1, u-2, u-3, 4",
        "everyone everyone 6 +2 u-1, u-2, u-3, 4, v-1, line 8",
        "never: account acme-de; 1 context here",
        "tenth: no share lets in 2 contexts without a user",
    ]
    assert applied.json("status")["new-invoicing"]["status"] == "draft"
    assert len(applied.json("history")) == 1


@pytest.mark.parametrize("status", ["draft", "running", "killed", "rolled back"])
def test_it_is_what_the_oracle_says_wherever_the_flag_stands(
    applied: Terminal, contexts: Callable[..., str], status: str
) -> None:
    acts = {"draft": (), "running": ("start",), "killed": ("start", "kill"), "rolled back": ("start", "rollback")}[
        status
    ]
    for act in acts:
        applied(act, "new-invoicing")
    people = [person.context() for person in make_people(300, 7)] + [{"city": "Manchester", "country": "GB"}]
    found = applied.json("plan", "new-invoicing", "--contexts", contexts("\n".join(map(json.dumps, people))))
    asked = [oracle.Person(**{"user": None, **each, "groups": tuple(each.get("groups", ()))}) for each in people]
    for number, stage in enumerate(found["stages"], 1):
        answers = [oracle.expected(number, person) for person in asked]
        assert stage["has_it"] == [line for line, (is_on, *_) in enumerate(answers, 1) if is_on]
        assert stage["count"] == len(stage["has_it"])
        assert sum(stage["off"].values()) == len(people) - stage["count"]
    assert found["killed"] is (status == "killed")
    assert ("it is killed now" in applied("plan", "new-invoicing", "--contexts", "people.jsonl")) is found["killed"]


def test_it_is_what_an_app_is_answered(applied: Terminal, contexts: Callable[..., str]) -> None:
    contexts(PEOPLE)
    found = applied.json("plan", "new-invoicing", "--contexts", "people.jsonl")
    asked = [Context(**json.loads(line)) for line in PEOPLE.splitlines() if line]
    applied("start", "new-invoicing")
    for number, stage in enumerate(found["stages"]):
        if number:
            applied("advance", "new-invoicing", "--reason", "go")
        gate = Gate.open(os.environ["FLAGGATE_STORE"])
        having = [gate.is_on("new-invoicing", context) for context in asked]
        gate.close()
        numbers = [each["number"] for each, has_it in zip(found["contexts"], having, strict=True) if has_it]
        assert stage["has_it"] == numbers, stage["name"]


def test_from_a_file_without_a_store(
    terminal: Terminal, contexts: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FLAGGATE_STORE")
    out = terminal("plan", "new-invoicing", "--definitions", str(SEED), "--contexts", contexts(PEOPLE))
    assert "beta        group beta or tier enterprise" in out
    assert list(Path().glob("*.db*")) == []
    terminal("plan", "new-invoice", "--definitions", str(SEED), "--contexts", "people.jsonl", code=2)
    assert terminal.err == 'there is no flag "new-invoice"; did you mean "new-invoicing"?\n'
    terminal("plan", "new-invoicing", "--definitions", "flagz.toml", "--contexts", "people.jsonl", code=2)
    assert "flagz.toml: it cannot be read" in terminal.err
    terminal("plan", "new-invoicing", "--contexts", "people.jsonl", code=2)
    assert "Which store?" in terminal.err


def test_a_file_and_a_store_contradict_each_other(applied: Terminal, contexts: Callable[..., str]) -> None:
    args = "plan", "new-invoicing", "--definitions", str(SEED), "--contexts", contexts(PEOPLE)
    applied(*args, "--store", "sqlite:///flags.db", code=2)
    assert "--store and --definitions contradict each other" in applied.err
    applied(*args)  # a store in the environment is none that somebody asked for


def test_a_json_list_is_the_same(applied: Terminal, contexts: Callable[..., str]) -> None:
    lines = applied.json("plan", "new-invoicing", "--contexts", contexts(PEOPLE.replace("\n\n", "\n")))
    people = [json.loads(line) for line in PEOPLE.splitlines() if line]
    listed = contexts(json.dumps(people, indent=2), "people.json")
    assert applied.json("plan", "new-invoicing", "--contexts", listed)["stages"] == lines["stages"]
    windows = contexts("\ufeff" + PEOPLE.replace("\n", "\r\n"))
    assert "7 contexts of people.jsonl" in applied("plan", "new-invoicing", "--contexts", windows)


def test_from_standard_input(applied: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(PEOPLE.encode())))
    assert "7 contexts of standard input:" in applied("plan", "new-invoicing", "--contexts", "-")
    monkeypatch.setattr(sys, "stdin", None)
    applied("plan", "new-invoicing", "--contexts", "-", code=2)
    assert "(standard input): it cannot be read (there is none)" in applied.err


def test_many_names_are_cut_unless_all_are_asked_for(terminal: Terminal, contexts: Callable[..., str]) -> None:
    name = contexts("\n".join(f'{{"user": "u-{number}", "staff": true}}' for number in range(1, 1013)))
    args = "plan", "new-invoicing", "--definitions", str(SEED), "--contexts", name
    first = next(line for line in terminal(*args).splitlines() if line.startswith("internal"))
    assert first.split()[2:4] == ["1,012", "+1,012"]
    assert first.endswith("u-9, u-10 and 1,002 more")
    terminal(*args, "--all")
    assert "u-1011, u-1012" in terminal.out.replace("\n", "")
    assert "more" not in terminal.out


WRONG: dict[str, list[str]] = {
    '{"usr": 1}': ['line 2: usr: there is no such key; did you mean "user"? allowed: user, account, visitor, staff'],
    '{"user": true}': ['line 2: user: true; allowed: text or a whole number, such as "u-1"'],
    '{"staff": "yes", "groups": "beta"}': [
        'line 2: staff: "yes"; allowed: true or false',
        'line 2: groups: "beta"; allowed: a list of names, such as ["beta"]',
    ],
    '{"city_id": 1.5}': ["line 2: city_id: 1.5; allowed: a whole number"],
    '{"seats": 12}': ["line 2: seats: there is no such key; ", "your own stand in attributes"],
    '{"attributes": {"seats": [1]}}': ["line 2: attributes: ", "allowed: an object of text, numbers"],
    '{"country": 44}': ["line 2: country: 44; allowed: text in double quotes"],
    '["u-1"]': ['line 2: ["u-1"] is no object; allowed: one JSON object a line'],
    "u-1": ["line 2: this is no JSON (", "allowed: one JSON object a line, or one JSON list"],
    "[" * 100_000: ["line 2: this is no JSON ("],
    '{"user": "u-2"': ["line 2: this is no JSON ("],
}


@pytest.mark.parametrize("line", WRONG, ids=lambda line: line[:30])
def test_a_wrong_line_is_named_with_what_is_allowed(applied: Terminal, contexts: Callable[..., str], line: str) -> None:
    applied("plan", "new-invoicing", "--contexts", contexts(f'{{"user": "u-1"}}\n{line}\n'), code=2)
    assert applied.out == ""
    assert all(words in applied.err for words in WRONG[line]), applied.err
    assert all(words.startswith("people.jsonl: line 2: ") for words in applied.err.splitlines())


def test_all_wrong_lines_are_named_at_once_and_for_programs(applied: Terminal, contexts: Callable[..., str]) -> None:
    name = contexts('[{"user": 1}, 3, {"usr": 2}]', "people.json")
    found = applied.json("plan", "new-invoicing", "--contexts", name, code=2)
    assert found["kind"] == "DocumentError"
    assert [mistake["path"] for mistake in found["mistakes"]] == ["item 2", "item 3: usr"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "there is no context in it; allowed: one JSON object a line"),
        ("[1, ", "this is no JSON"),
        ("[]", "no context"),
    ],
)
def test_a_file_that_holds_nobody(applied: Terminal, contexts: Callable[..., str], text: str, words: str) -> None:
    applied("plan", "new-invoicing", "--contexts", contexts(text), code=2)
    assert applied.err.startswith("people.jsonl: ")
    assert words in applied.err


def test_a_file_that_cannot_be_read(applied: Terminal, tmp_path: Path) -> None:
    (tmp_path / "latin.jsonl").write_bytes(b'{"user": "Zo\xeb"}')
    for name in ("nobody.jsonl", "latin.jsonl"):
        applied("plan", "new-invoicing", "--contexts", name, code=2)
        assert f"{name}: it cannot be read (" in applied.err
        assert "allowed: UTF-8" in applied.err


def test_a_switch(terminal: Terminal, write: Callable[[str], str], contexts: Callable[..., str]) -> None:
    text = f'[flags.s]\ndescription = "x"\nowner = "{OWNER}"\naudience = {{ segment = "pilot" }}\n'
    terminal("apply", write(text + '[segments.pilot]\nunit = "user"\nmembers = ["u-1"]\n'))
    for source in ((), ("--definitions", "flags.toml")):
        out = terminal("plan", "s", "--contexts", contexts(PEOPLE), *source)
        assert " ".join(out.splitlines()[2].split()) == "on segment pilot 1 +1 u-1"


def test_a_segment_that_is_missing(terminal: Terminal, contexts: Callable[..., str]) -> None:
    store = open_store(os.environ["FLAGGATE_STORE"])
    rollout = {
        "flag": "s",
        "salt": "s",
        "status": "off",
        "since": "2026-03-02T12:00:00+00:00",
        "owner": "o",
        "deputies": [],
    }
    flag = {"description": "x", "owner": "o", "audience": {"segment": "pilot"}}
    store.commit([Write("flag", "s", 0, {"flag": flag, "rollout": rollout})], [])
    store.close()
    terminal("plan", "s", "--contexts", contexts(PEOPLE), code=1)
    assert "s: segment pilot is missing or cannot be read" in terminal.err


def test_a_rule_that_fails_is_off_and_said(applied: Terminal, contexts: Callable[..., str]) -> None:
    """As it is for an app: half a character has no place in any share."""
    name = contexts('{"user": "\\ud800"}\n{"user": "u-1", "staff": true}')
    out = applied("plan", "new-invoicing", "--contexts", name)
    assert "tenth: a rule fails for 1 context, which is off; explain says why" in out
    found = applied.json("plan", "new-invoicing", "--contexts", name)
    assert [stage["off"].get("fault", 0) for stage in found["stages"]] == [0, 0, 0, 1, 1]


def test_the_order_of_the_lines_means_nothing(applied: Terminal, contexts: Callable[..., str]) -> None:
    people: list[dict[str, Any]] = [person.context() for person in make_people(100, 3)]
    counts = []
    for _ in range(2):
        found = applied.json("plan", "new-invoicing", "--contexts", contexts("\n".join(map(json.dumps, people))))
        counts.append([stage["count"] for stage in found["stages"]])
        random.Random(1).shuffle(people)
    assert counts[0] == counts[1] == sorted(counts[0])
