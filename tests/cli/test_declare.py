"""check, schema, apply."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import jsonschema
import pytest

from tests.cli.conftest import Terminal
from tests.seed import SEED

SWITCH = '[flags.dark-mode]\ndescription = "Dark"\nowner = "owner@example.com"\n'


def test_check_says_what_is_wrong_and_where(terminal: Terminal, write: Callable[[str], str]) -> None:
    file = write(SWITCH + 'audiense = { staff = true }\nowne = "x"\n')
    terminal("check", file, code=2)
    assert 'flags.dark-mode.audiense: unknown key "audiense"; did you mean "audience"?' in terminal.err
    assert "flags.dark-mode.owne" in terminal.err


def test_mistakes_for_programs(terminal: Terminal, write: Callable[[str], str]) -> None:
    file = write(SWITCH + 'audiense = { staff = true }\nowne = "x"\n')
    for command in ("check", "apply"):
        found = terminal.json(command, file, code=2)
        assert found["kind"] == "DocumentError"
        assert [mistake["path"] for mistake in found["mistakes"]] == [
            "flags.dark-mode.audiense",
            "flags.dark-mode.owne",
        ]
        assert found["mistakes"][0]["source"] == file
        assert found["mistakes"][0]["problem"] == 'unknown key "audiense"'
        assert found["mistakes"][0]["allowed"].startswith('did you mean "audience"?')


def test_every_mistake_has_a_line_and_no_more(terminal: Terminal) -> None:
    terminal("check", "two\nlines.toml", code=2)
    assert terminal.err.startswith("two\\nlines.toml: it cannot be read")
    assert len(terminal.err.splitlines()) == 1


def test_check_of_a_file_that_is_not_there(terminal: Terminal) -> None:
    terminal("check", "flagz.toml", code=2)
    assert "flagz.toml: it cannot be read" in terminal.err


def test_check_advises(terminal: Terminal) -> None:
    out = terminal("check", str(SEED))
    assert "stages.internal: no min_sample: silence counts as fine here" in out
    assert "stages.manchester: 50 % of a place by user: who leaves the place leaves the stage" in out
    assert "1 flag, 0 segments, no mistakes, 3 to think about" in out


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        ('audience = { teir = "pro" }', 'did you mean "tier"?'),
        ('deny = { plan_b = "x" }', None),
        ('stages = [{name="a", share=0, soak="1h", min_sample=1}, {name="b"}]', "a share of 0 lets in nobody"),
        ('stages = [{name="a", soak="1h", min_sample=1}, {name="b"}]', "no rollback guard is judged here"),
    ],
)
def test_advice(terminal: Terminal, write: Callable[[str], str], extra: str, words: str | None) -> None:
    notes = terminal.json("check", write(SWITCH + extra + "\n"))["advice"]
    assert any(words in note["words"] for note in notes) if words else not notes


def test_schema_accepts_the_plan(terminal: Terminal) -> None:
    import tomllib

    jsonschema.validate(tomllib.loads(SEED.read_text()), json.loads(terminal("schema")))


def test_apply_shows_the_difference(terminal: Terminal, write: Callable[[str], str]) -> None:
    assert terminal("apply", write(SWITCH)) == f"new store {os.environ['FLAGGATE_STORE']}\n+ flag dark-mode\n"
    assert terminal("apply", write(SWITCH)) == "nothing to change\n"
    out = terminal("apply", write(SWITCH.replace("Dark", "Darker") + 'deny = {tier = "x"}\n'), "--dry-run")
    assert "~ flag dark-mode\n    description: Dark -> Darker\n" in out
    assert '    deny: (not there) -> {"tier": "x"}\n' in out
    assert out.endswith("dry run: nothing was changed\n")
    assert terminal.json("status", "dark-mode")["dark-mode"]["description"] == "Dark"


def test_apply_says_what_an_edit_undoes(applied: Terminal, write: Callable[[str], str]) -> None:
    applied("start", "new-invoicing")
    plan = SEED.read_text(encoding="utf-8")
    words = "the stage that it is in begins anew: soak, evidence, watch and approval no longer count"
    assert words in applied("apply", write(plan.replace('limit = "1%"', 'limit = "2%"')), "--dry-run")
    assert words not in applied("apply", write(plan.replace("share = 10 ", "share = 9 ")), "--dry-run")
    for _ in range(3):
        applied("advance", "new-invoicing", "--reason", "go")
    applied("approve", "new-invoicing", "--as", "deputy@example.com")
    harder = plan.replace('name = "everyone"', 'name = "everyone"\naudience = { country = "GB" }')
    assert "its approval no longer counts: the next stage is another one" in applied("apply", write(harder))


def test_nobody_is_called_what_acts_by_itself(terminal: Terminal, write: Callable[[str], str]) -> None:
    for line in ('owner = "flaggate"', 'owner = "o"\ndeputies = ["ada", "flaggate"]'):
        terminal("check", write(f'[flags.s]\ndescription = "x"\n{line}\n'), code=2)
        assert '"flaggate" is who acts where the clock or a guard does' in terminal.err


def test_apply_prunes_only_when_told(terminal: Terminal, write: Callable[[str], str]) -> None:
    terminal("apply", write(SWITCH))
    other = write(SWITCH.replace("dark-mode", "light-mode"))
    assert "flag dark-mode is in the store, not in the file; it stays" in terminal("apply", other)
    assert terminal("apply", other, "--prune") == "- flag dark-mode\n"
    assert list(terminal.json("status")) == ["light-mode"]


def test_apply_names_the_rollouts_that_a_segment_touches(terminal: Terminal, write: Callable[[str], str]) -> None:
    text = SWITCH + 'audience = {segment = "pilot"}\n[segments.pilot]\nunit = "user"\nmembers = ["a"]\n'
    terminal("apply", write(text))
    assert "~ segment pilot\n    touches flag dark-mode\n" in terminal("apply", write(text.replace('"a"', '"b"')))


def test_a_refused_edit_is_all_or_nothing(applied: Terminal, write: Callable[[str], str]) -> None:
    applied("start", "new-invoicing")
    text = SEED.read_text().replace("staff = true", "staff = false") + SWITCH
    applied("apply", write(text), code=1)
    assert "stage internal: its audience cannot change" in applied.err
    assert list(applied.json("status")) == ["new-invoicing"]
    error = applied.json("apply", str(Path("flags.toml")), code=1)
    assert error["kind"] == "RevisionError"


def test_apply_json(terminal: Terminal) -> None:
    found = terminal.json("apply", str(SEED), "--dry-run")
    assert found["dry_run"]
    assert found["new_store"] == os.environ["FLAGGATE_STORE"]
    assert [change["name"] for change in found["changes"]] == ["new-invoicing"]


def test_a_dry_run_makes_no_store_and_does_not_take_another_file_for_one(terminal: Terminal) -> None:
    assert terminal("apply", str(SEED), "--dry-run") == "+ flag new-invoicing\ndry run: nothing was changed\n"
    assert list(Path().glob("*.db*")) == []
    Path("other.db").write_text("a letter")
    terminal("apply", str(SEED), "--dry-run", "--store", "sqlite:///other.db", code=3)
    assert "other.db" in terminal.err


def test_apply_says_what_seems_misspelt(terminal: Terminal, write: Callable[[str], str]) -> None:
    """Whom nobody denies has it."""
    terminal("apply", write(SWITCH + 'deny = { acount = "acme" }\n'))
    assert "flags.dark-mode.deny.acount: " in terminal.err
    assert 'did you mean "account"?' in terminal.err
