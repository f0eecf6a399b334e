"""What definitions files declare, and the canonical form that stores keep."""

from __future__ import annotations

import json
import tomllib
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flaggate.errors import DocumentError
from flaggate.flags.audience import Condition
from flaggate.flags.canonical import flag_to_json, segment_to_json
from flaggate.flags.difference import difference
from flaggate.flags.document import Definitions, flag_from_json, parse, segment_from_json
from flaggate.flags.model import Flag, Guard, Segment, Stage, guards_judged_in, segments_asked
from tests.flags import strategies
from tests.flags.toml_text import toml_text
from tests.seed import SEED

DAY = 24 * 3600


def equals(attribute: str, *values: object) -> Condition:
    return Condition(attribute, "equals", values)


def test_the_seed_plan_is_read_as_written() -> None:
    everyone = Stage("everyone")
    expected = Flag(
        name="new-invoicing",
        description="The overhauled invoicing system",
        owner="release-owner@example.com",
        deputies=("deputy@example.com",),
        unit="user",
        deny=((equals("account", "acme-de"),),),
        stages=(
            Stage("internal", ((equals("staff", True),),), soak_seconds=DAY),
            Stage(
                "manchester",
                ((equals("city", "Manchester"), equals("country", "GB")),),
                share_thousandths=50_000,
                soak_seconds=DAY,
                min_sample=500,
            ),
            Stage("beta", ((equals("group", "beta"),), (equals("tier", "enterprise"),)), soak_seconds=DAY, min_sample=1000),
            Stage("tenth", share_thousandths=10_000, soak_seconds=DAY, approval="any"),
            everyone,
        ),
        guards=(
            Guard("errors", limit=Decimal("0.01")),
            Guard("errors", vs_control=Decimal("1.25")),
            Guard("slow", limit=Decimal("0.05"), slower_than_ms=400),
        ),
    )  # fmt: skip
    assert parse(SEED.read_text(encoding="utf-8")) == Definitions({"new-invoicing": expected}, {})


def test_the_canonical_form_of_the_seed_plan_is_the_file_without_defaults() -> None:
    written = tomllib.loads(SEED.read_text(encoding="utf-8"))["flags"]["new-invoicing"]
    del written["unit"], written["guards"][2]["on_breach"], written["guards"][2]["on_no_data"]
    written["deny"] = {"account": "acme-de"}  # a list of one value is that value
    assert flag_to_json(parse(SEED.read_text(encoding="utf-8")).flags["new-invoicing"]) == written


@given(strategies.definitions())
def test_toml_and_json_read_the_same(document: dict[str, Any]) -> None:
    assert parse(toml_text(document)) == parse(json.dumps(document), syntax="json")


@given(strategies.definitions())
def test_what_stores_keep_reads_back_as_the_same(document: dict[str, Any]) -> None:
    read = parse(json.dumps(document), syntax="json")
    for name, flag in read.flags.items():
        kept = json.loads(json.dumps(flag_to_json(flag)))
        assert flag_from_json(name, kept) == flag
        assert flag_to_json(flag_from_json(name, kept)) == kept
    for name, segment in read.segments.items():
        kept = json.loads(json.dumps(segment_to_json(segment)))
        assert segment_from_json(name, kept) == segment
        assert segment_to_json(segment_from_json(name, kept)) == kept


@given(strategies.flags(), st.randoms(use_true_random=False))
def test_the_order_of_keys_means_nothing(flag: dict[str, Any], random: Any) -> None:
    def shuffled(value: Any) -> Any:
        if isinstance(value, dict):
            keys = random.sample(list(value), len(value))
            return {key: shuffled(value[key]) for key in keys}
        return [shuffled(item) for item in value] if isinstance(value, list) else value

    one, other = flag_from_json("a", flag), flag_from_json("a", shuffled(flag))
    assert one == other
    assert list(difference(flag_to_json(one), flag_to_json(other))) == []


def test_true_is_another_audience_than_1() -> None:
    """Otherwise an edit from one to the other would be taken for none."""
    one, true = (
        parse(f'[flags.a]\ndescription = "A"\nowner = "owner@example.com"\naudience = {{ pilot = {value} }}').flags["a"]
        for value in ("1", "true")
    )
    assert one != true
    assert len({one, true}) == 2
    assert [change.path for change in difference(flag_to_json(one), flag_to_json(true))] == ["audience.pilot"]


@pytest.mark.parametrize(
    ("written", "thousandths"), [("0", 0), ("0.001", 1), ("12.5", 12_500), ("33.333", 33_333), ("1e1", 10_000)]
)
def test_a_share_is_exact_to_three_decimals(written: str, thousandths: int) -> None:
    text = f'[flags.a]\ndescription = "A"\nowner = "o"\n[[flags.a.stages]]\nname = "all"\nshare = {written}'
    flag = parse(text).flags["a"]
    assert flag.stages[0].share_thousandths == thousandths
    assert flag_from_json("a", json.loads(json.dumps(flag_to_json(flag)))) == flag


def test_an_empty_file_declares_nothing() -> None:
    assert parse("") == Definitions({}, {})


def test_a_stored_flag_with_mistakes_names_them_and_where_it_was_kept() -> None:
    with pytest.raises(DocumentError) as caught:
        flag_from_json("a", {"description": "A"}, source="sqlite:///flags.db")
    assert str(caught.value) == 'sqlite:///flags.db: flags.a: "owner" is missing; every flag has one'
    with pytest.raises(DocumentError, match=r"segments\.a: .* one of two forms"):
        segment_from_json("a", {})


# --- segments -----------------------------------------------------------------------------------


def test_a_hundred_thousand_members_are_read_from_their_file() -> None:
    asked: list[str] = []

    def read_file(name: str) -> str:
        asked.append(name)
        return "\r\n".join(f" user-{number} " for number in range(100_000)) + "\n\n"

    text = '[segments.pilots]\nunit = "account"\nmembers_file = "members/pilots.txt"'
    segment = parse(text, read_file=read_file).segments["pilots"]
    assert asked == ["members/pilots.txt"]
    assert segment.unit == "account"
    assert segment.members == {f"user-{number}" for number in range(100_000)}
    assert segment_from_json("pilots", segment_to_json(segment)) == segment


def test_a_hundred_thousand_members_are_read_from_the_document() -> None:
    document = {"segments": {"pilots": {"unit": "user", "members": [f"user-{number}" for number in range(100_000)]}}}
    assert len(parse(json.dumps(document), syntax="json").segments["pilots"].members) == 100_000


def test_a_members_file_needs_somebody_who_reads_it() -> None:
    with pytest.raises(DocumentError, match=r"segments\.pilots\.members_file: there is no file to read from here"):
        parse('[segments.pilots]\nunit = "user"\nmembers_file = "pilots.txt"')


def test_a_segment_may_be_empty_and_is_an_audience_without_a_unit() -> None:
    read = parse('[segments.none]\nunit = "user"\nmembers = []\n[segments.gold]\naudience = { tier = "gold" }')
    assert read.segments == {
        "none": Segment("none", unit="user"),
        "gold": Segment("gold", audience=((equals("tier", "gold"),),)),
    }


# --- what a flag says about itself ----------------------------------------------------------------


def test_the_segments_a_flag_asks_are_those_of_all_its_audiences() -> None:
    stages = [
        {"name": "pilots", "audience": [{"segment": ["pilots", "friends"]}, {"staff": True}], "soak": "1h"},
        {"name": "everyone"},
    ]
    written = {"description": "A", "owner": "owner@example.com", "deny": {"segment": "rivals"}, "stages": stages}
    flag = flag_from_json("a", written)
    assert segments_asked(flag) == {"rivals", "pilots", "friends"}
    assert not flag.is_switch


def test_a_guard_against_control_is_judged_only_where_there_is_a_control() -> None:
    flag = parse(SEED.read_text(encoding="utf-8")).flags["new-invoicing"]
    judged = {stage.name: len(guards_judged_in(flag, stage)) for stage in flag.stages}
    assert judged == {"internal": 2, "manchester": 3, "beta": 2, "tenth": 3, "everyone": 2}
