"""Templates: a plan that is written once, and what a flag that takes it comes to."""

from __future__ import annotations

import json
import tomllib
from typing import Any, Final

import pytest
from hypothesis import given

from flaggate.errors import DocumentError, RevisionError
from flaggate.flags.advice import advice
from flaggate.flags.canonical import flag_to_json
from flaggate.flags.document import Definitions, flag_from_json, parse
from flaggate.flags.model import Flag
from flaggate.rollout.state import Verb
from flaggate.runtime.control import Control
from flaggate.stores.memory import MemoryStore
from flaggate.stores.record import read_flag
from tests.flags import strategies
from tests.runtime.control_plans import act, control_of
from tests.seed import SEED

STANDARD: Final = """
[templates.standard]
stages = [
    { name = "internal", audience = { staff = true }, soak = "24h" },
    { name = "tenth", share = 10, soak = "24h", min_sample = 1000, guards = [{ metric = "errors", vs_control = 1.5 }] },
    { name = "everyone" },
]
guards = [{ metric = "errors", limit = "1%" }]
"""


def flags(*own: str, template: str = STANDARD) -> dict[str, Flag]:
    """Flags a, b, ... under the template, each with what it says itself."""
    said = zip("abc", own, strict=False)
    tables = (f'[flags.{name}]\ndescription = "A"\nowner = "owner@example.com"\n{text}\n' for name, text in said)
    return parse(template + "".join(tables)).flags


def kept(text: str, key: str = "stages") -> Any:
    """What a store keeps of a flag that takes the template and says this."""
    return flag_to_json(flags(f'template = "standard"\n{text}')["a"]).get(key)


STAGES: Final[list[dict[str, Any]]] = tomllib.loads(STANDARD)["templates"]["standard"]["stages"]
INTERNAL, TENTH, EVERYONE = STAGES


def test_a_flag_takes_the_stages_and_the_guards() -> None:
    assert kept("") == STAGES
    assert kept("", "guards") == [{"metric": "errors", "limit": "1%"}]


def test_the_seed_plan_as_a_template_is_the_seed_plan() -> None:
    document = tomllib.loads(SEED.read_text(encoding="utf-8"))
    flag = document["flags"]["new-invoicing"]
    document["templates"] = {"standard": {key: flag.pop(key) for key in ("stages", "guards")}}
    flag["template"] = "standard"
    assert parse(json.dumps(document), syntax="json") == parse(SEED.read_text(encoding="utf-8"))


def test_a_key_that_the_flag_gives_wins_and_the_others_stay() -> None:
    assert kept('stages = [{ name = "tenth", share = 5, soak = "0s" }]') == [
        INTERNAL,
        TENTH | {"share": 5, "soak": "0s"},
        EVERYONE,
    ]
    assert kept('stages = [{ name = "internal", approval = true }]')[0] == INTERNAL | {"approval": True}
    beta = {"group": "beta"}
    assert kept('stages = [{ name = "internal", audience = { group = "beta" } }]')[0] == INTERNAL | {"audience": beta}


def test_guards_are_replaced_as_a_list() -> None:
    slow = {"metric": "slow", "vs_control": 2}
    assert kept('guards = [{ metric = "slow", vs_control = 2 }]', "guards") == [slow]
    assert kept("guards = []", "guards") is None
    assert kept('stages = [{ name = "tenth", guards = [{ metric = "slow", vs_control = 2 }] }]')[1]["guards"] == [slow]
    assert "guards" not in kept('stages = [{ name = "tenth", guards = [] }]')[1]


def test_the_order_is_the_template_s() -> None:
    own = ['{ name = "tenth", share = 5 }', '{ name = "internal", soak = "1h" }', '{ name = "everyone" }']
    one, other = (kept(f"stages = [{', '.join(order)}]") for order in (own, own[::-1]))
    assert one == other == [INTERNAL | {"soak": "1h"}, TENTH | {"share": 5}, EVERYONE]


def test_a_stage_may_leave_to_each_flag_when_it_is_left() -> None:
    bare = '[templates.standard]\nstages = [{ name = "half", share = 50 }, { name = "everyone" }]\n'
    soaked = 'template = "standard"\nstages = [{ name = "half", soak = "1h" }]'
    assert flags(soaked, template=bare)["a"].stages[0].soak_seconds == 3600
    with pytest.raises(
        DocumentError, match=r"flags\.b\.stages\.half: nothing says when this stage may be left, here or"
    ):
        flags(soaked, 'template = "standard"', template=bare)


def test_a_template_by_itself_declares_nothing() -> None:
    assert parse(STANDARD) == Definitions({}, {})


def test_what_is_wrong_in_one_that_nobody_uses_is_said_all_the_same() -> None:
    with pytest.raises(DocumentError, match=r"templates\.standard\.stages\.tenth\.share: 101 is not allowed"):
        parse(STANDARD.replace("share = 10", "share = 101"))


def test_a_stage_without_a_name_is_said_once() -> None:
    with pytest.raises(DocumentError) as refused:
        flags('template = "standard"\nstages = [{ soak = "1h" }, { name = "tenth", share = 20 }]')
    assert [mistake.path for mistake in refused.value.mistakes] == ["flags.a.stages[0]"]


def test_a_segment_that_a_template_asks_is_looked_for() -> None:
    asking = STANDARD.replace("staff = true", 'segment = "pilots"')
    with pytest.raises(DocumentError, match=r"templates\.standard\.stages\.internal\.audience\.segment: there is no"):
        parse(asking)
    with_pilots = asking + '[segments.pilots]\nunit = "user"\nmembers = []\n'
    assert parse(with_pilots).segments.keys() == {"pilots"}


def test_what_a_store_keeps_refers_to_no_template() -> None:
    with pytest.raises(DocumentError, match=r'flags\.a\.template: there is no template "standard"'):
        flag_from_json("a", {"description": "A", "owner": "owner@example.com", "template": "standard"})


def test_advice_is_given_on_the_flag() -> None:
    read = flags('template = "standard"', 'template = "standard"\nstages = [{ name = "internal", min_sample = 1 }]')
    assert list(advice(read)) == [("flags.a.stages.internal", "no min_sample: silence counts as fine here")]


# --- every document ---------------------------------------------------------------------------------


def written_out(document: dict[str, Any]) -> dict[str, Any]:
    """The document without templates, every flag with its whole plan."""

    def plan(flag: dict[str, Any]) -> dict[str, Any]:
        if "template" not in flag:
            return flag
        own = {stage["name"]: stage for stage in flag.get("stages", ())}
        template = document["templates"][flag["template"]]
        stages = [stage | own.get(stage["name"], {}) for stage in template["stages"]]
        return {key: value for key, value in (template | flag | {"stages": stages}).items() if key != "template"}

    rest = {key: value for key, value in document.items() if key not in ("flags", "templates")}
    return rest | {"flags": {name: plan(flag) for name, flag in document.get("flags", {}).items()}}


@given(strategies.definitions())
def test_a_file_says_what_it_says_when_everything_is_written_out(document: dict[str, Any]) -> None:
    assert parse(json.dumps(document), syntax="json") == parse(json.dumps(written_out(document)), syntax="json")


# --- revisions --------------------------------------------------------------------------------------


@pytest.fixture
def control() -> Control:
    return control_of(MemoryStore())


def applied(control: Control, template: str) -> dict[str, Any]:
    """Apply three flags, of which two take the template; for each that changed what did."""
    own = ('template = "standard"', 'template = "standard"\nstages = [{ name = "tenth", share = 5 }]', "")
    events = control.apply(Definitions(flags(*own, template=template), {}), actor="owner@example.com").events
    return {event.name: event.evidence["difference"] for event in events}


def test_an_edit_of_a_template_is_a_revision_of_each_flag_that_uses_it(control: Control) -> None:
    applied(control, STANDARD)
    assert applied(control, STANDARD) == {}
    assert applied(control, STANDARD.replace("share = 10", "share = 20").replace("1000", "500")) == {
        "a": [["stages.tenth.share", 10, 20], ["stages.tenth.min_sample", 1000, 500]],
        "b": [["stages.tenth.min_sample", 1000, 500]],  # its share is its own
    }


def test_and_it_is_taken_by_all_of_them_or_by_none(control: Control) -> None:
    applied(control, STANDARD)
    act(control.store, Verb.START, "b")
    before = [read_flag(control.store, name).flag for name in "abc"]
    with pytest.raises(RevisionError) as refused:
        applied(control, STANDARD.replace("staff = true", 'group = "staff"'))
    assert refused.value.refusals == (
        "b is running at stage 1 (internal): stage internal: its audience cannot change; roll back first",
    )
    assert [read_flag(control.store, name).flag for name in "abc"] == before


def test_a_plan_that_moves_into_a_template_is_no_change(control: Control) -> None:
    whole = json.dumps({"flags": {"a": flag_to_json(flags('template = "standard"')["a"])}})
    control.apply(parse(whole, syntax="json"), actor="owner@example.com")
    assert control.apply(Definitions(flags('template = "standard"'), {}), actor="owner@example.com").events == ()
