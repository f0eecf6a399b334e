"""`override`: how long it stands, before what, and around which tests."""

from __future__ import annotations

import asyncio
import logging
import unittest
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, aclosing, closing
from typing import Any

import pytest

from flaggate import Context, Decision, Gate, testing
from flaggate.errors import SettingError, UnknownFlagError
from flaggate.testing import override
from tests.testing.conftest import OpenGate

PRO = Context("ada", tier="pro")
ON = override({"banner": True})


def states(gate: Gate) -> list[bool]:
    return [gate.is_on("banner"), gate.is_on("tiered", PRO)]


# --- a block ------------------------------------------------------------------------------------


def test_on_in_the_block_whoever_asks_and_however(gate: Gate) -> None:
    expected = Decision("banner", True, "override")
    with override({"banner": True}):
        assert gate.is_on("banner") is gate.is_on("banner", PRO) is True
        assert gate.decide("banner") == gate.decide("banner", PRO) == gate.decisions()["banner"] == expected
        with gate.visit(PRO) as visit:
            assert visit["banner"]
            assert gate.is_on("banner")
            assert visit.decide("banner") == gate.decisions()["banner"] == expected
        assert gate.decide("half") == Decision("half", False, "not_started"), "the others are as they are"
    assert gate.decide("banner") == Decision("banner", False, "off")


def test_off_by_a_test_is_off(gate: Gate) -> None:
    with override({"banner": True}), override({"banner": False}):
        assert gate.decide("banner") == Decision("banner", False, "override")


def test_a_function_says_it_for_each_context(gate: Gate) -> None:
    with override({"banner": lambda context: context.tier == "pro"}):
        assert gate.is_on("banner", PRO) is True
        assert gate.decide("banner", PRO) == Decision("banner", True, "override")
        assert gate.decide("banner", Context("bob")) == Decision("banner", False, "override")
        assert not gate.is_on("banner")
    told: Any = {"banner": lambda context: context.user}
    with override(told):
        assert gate.is_on("banner", PRO) is True, "true or not is enough"


def test_what_a_function_reads_is_decided_again(gate: Gate) -> None:
    def has_seats(context: Context) -> bool:
        return bool(context.attributes.get("seats", 0) > 10)

    with override({"banner": has_seats, "tiered": lambda context: "beta" in context.groups}), gate.visit() as visit:
        assert not visit["banner"]
        assert not visit["tiered"]
        visit.identify(attributes={"seats": 12})
        assert visit["banner"]
        visit.identify(groups=["beta"])
        assert visit["tiered"]


def test_a_function_that_raises_is_a_fault_as_any_rule(gate: Gate, caplog: pytest.LogCaptureFixture) -> None:
    def fail(context: Context) -> bool:
        raise ZeroDivisionError("of the test")

    with override({"banner": fail}):
        assert not gate.is_on("banner", PRO)
        assert gate.decide("banner", PRO) == Decision("banner", False, "fault")
        with gate.visit(PRO) as visit:
            assert visit.decide("banner").reason == "fault"
        assert gate.health().faults == {"banner": 3}
        assert str(gate.explain("banner", PRO)) == "override: the function of a test failed; off"
    said = [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
    assert said == ["flag 'banner' failed and is off: ZeroDivisionError('of the test')"]


def test_the_inner_one_stands_before_the_outer(gate: Gate) -> None:
    with override({"banner": True, "tiered": True}):
        with override({"banner": False}):
            assert states(gate) == [False, True]
        assert states(gate) == [True, True]
    assert states(gate) == [False, False]


def test_taken_away_out_of_order(gate: Gate) -> None:
    first, second = ExitStack(), ExitStack()
    first.enter_context(override({"banner": True, "tiered": True}))
    second.enter_context(override({"banner": False}))
    first.close()
    assert gate.decide("banner") == Decision("banner", False, "override")
    assert gate.decide("tiered", PRO).reason == "off"
    second.close()
    assert gate.decide("banner").reason == "off"


def test_taken_away_after_an_exception(gate: Gate) -> None:
    with pytest.raises(KeyboardInterrupt), override({"banner": True}):
        raise KeyboardInterrupt
    assert not gate.is_on("banner")


def test_one_is_used_twice_and_within_itself(gate: Gate) -> None:
    on = override({"banner": True})
    for _ in range(2):
        with on:
            with on, override({"tiered": True}), on:
                assert states(gate) == [True, True]
            assert states(gate) == [True, False]
        assert states(gate) == [False, False]


def test_what_is_changed_in_the_mapping_later_changes_nothing(gate: Gate) -> None:
    answers = {"banner": True}
    on = override(answers)
    answers["banner"] = False
    with on:
        assert gate.is_on("banner")


def test_a_visit_that_began_before_keeps_its_answers(gate: Gate) -> None:
    with gate.visit() as before:
        with override({"banner": True}):
            within = gate.visit()
            assert before.decide("banner") == Decision("banner", False, "off")
        with within:
            assert within["banner"], "and so does one that began within it"
    assert not within["banner"], "a visit that has ended is answered as things stand"


def test_it_stands_in_gates_that_are_opened_within(open_gate: OpenGate) -> None:
    with override({"new-invoicing": True}):
        one, other = open_gate("memory://"), open_gate("memory://")
        assert one.is_on("new-invoicing")
        assert other.is_on("new-invoicing")
    assert not one.is_on("new-invoicing")


def test_how_a_gate_says_that_it_is_overridden(gate: Gate) -> None:
    with override({"banner": True, "tiered": lambda context: context.tier == "pro"}):
        assert str(gate.explain("banner")) == "override: a test says so; on"
        assert str(gate.explain("tiered", PRO)) == "override: a test says so; on"
        assert str(gate.explain("tiered")) == "override: a test says so; off"
        with gate.visit(PRO):
            assert gate.explain("tiered").decision.is_on
        assert gate.health()[:5] == (1, False, None, {}, {})
    assert str(gate.explain("banner")) == "kill: no; status: off; off"


# --- flags that are not there -------------------------------------------------------------------


def test_a_flag_that_is_not_there_is_an_error_meanwhile(gate: Gate) -> None:
    def ask_a_visit() -> None:
        with gate.visit() as visit:
            visit.is_on("baner")

    asking: list[Callable[[], Any]] = [
        lambda: gate.is_on("baner"),
        lambda: gate.is_on("baner", PRO),
        lambda: gate.decide("baner", PRO),
        lambda: gate.explain("baner"),
        ask_a_visit,
    ]
    assert not gate.is_on("baner")
    with override({}):
        for ask in asking:
            with pytest.raises(UnknownFlagError, match='there is no flag "baner"; did you mean "banner"') as raised:
                ask()
            assert (raised.value.name, raised.value.suggestion) == ("baner", "banner")
    assert gate.health().unknown == {"baner": 1}, "an error is not counted"
    assert not gate.is_on("baner")


def test_in_a_visit_that_began_before_it_is_off(open_gate: OpenGate) -> None:
    """The request of another thread is not to fail because a test begins."""
    gate = open_gate("memory://")
    with gate.visit() as visit, override({"new-invoicing": True}):
        assert visit.decide("new-invoicing") == Decision("new-invoicing", False, "unknown")
        with pytest.raises(UnknownFlagError):
            visit.decide("new-invoices")


def test_a_flag_that_nobody_declared_cannot_be_overridden(gate: Gate) -> None:
    wrong = override({"tiered": True, "baner": True})
    with pytest.raises(UnknownFlagError, match='there is no flag "baner"; did you mean "banner"'):
        wrong.__enter__()
    assert states(gate) == [False, False], "nothing of it stands"


# --- around tests -------------------------------------------------------------------------------


def test_around_a_function(gate: Gate) -> None:
    @ON
    def test(number: int, *, word: str) -> tuple[int, str, bool]:
        """What it shows."""
        return number, word, gate.is_on("banner")

    assert test(1, word="a") == test(1, word="a") == (1, "a", True)
    assert (test.__name__, test.__doc__) == ("test", "What it shows.")
    assert not gate.is_on("banner")


def test_around_an_async_function(gate: Gate) -> None:
    @ON
    async def test() -> list[bool]:
        async def ask() -> bool:
            return gate.is_on("banner")

        answers = [await ask(), await asyncio.create_task(ask()), await asyncio.to_thread(gate.is_on, "banner")]
        await asyncio.sleep(0)
        return answers

    waits = test()
    assert not gate.is_on("banner"), "it has not begun"
    assert asyncio.run(waits) == [True, True, True]
    assert not gate.is_on("banner")


def test_around_a_fixture(gate: Gate) -> None:
    @ON
    def fixture() -> Iterator[bool]:
        yield gate.is_on("banner")

    made = fixture()
    assert next(made)
    assert gate.is_on("banner"), "while the test runs"
    assert next(made, "the end") == "the end"
    assert not gate.is_on("banner")


@pytest.mark.parametrize("is_failing", [False, True])
def test_around_an_async_fixture(gate: Gate, is_failing: bool) -> None:
    told: list[object] = []

    @ON
    async def fixture() -> AsyncIterator[bool]:
        try:
            yield gate.is_on("banner")
        finally:
            told.append(gate.is_on("banner"))

    async def use() -> None:
        made: Any = fixture()
        async with aclosing(made):
            assert await anext(made)
            told.append(gate.is_on("banner"))
            if not is_failing:
                assert await anext(made, "the end") == "the end"

    asyncio.run(use())
    assert told == [True, True]
    assert not gate.is_on("banner")


def test_around_each_test_of_a_class(gate: Gate) -> None:
    class Parent:
        tests = 1

        def test_inherited(self) -> bool:
            return gate.is_on("banner")

        def helper(self) -> bool:
            return gate.is_on("banner")

    @ON
    class Tests(Parent):
        test_data = "no function"

        def test_own(self) -> bool:
            return self.helper()

        @staticmethod
        def test_static() -> bool:
            return gate.is_on("banner")

        @classmethod
        def test_of_the_class(cls) -> tuple[str, bool]:
            return cls.__name__, gate.is_on("banner")

        async def test_async(self) -> bool:
            return gate.is_on("banner")

    tests = Tests()
    assert tests.test_own()
    assert tests.test_inherited()
    assert tests.test_static()
    assert tests.test_of_the_class() == ("Tests", True)
    assert asyncio.run(tests.test_async())
    assert not tests.helper()
    assert not Parent().test_inherited(), "its parent is what it was"


def test_around_a_test_case_with_what_it_sets_up(gate: Gate) -> None:
    found: list[tuple[str, bool]] = []

    class Parent(unittest.TestCase):
        def test_inherited(self) -> None:
            found.append(("inherited", gate.is_on("banner")))

    @ON
    class Tests(Parent):
        def setUp(self) -> None:
            found.append(("set up", gate.is_on("banner")))

        def tearDown(self) -> None:
            found.append(("tear down", gate.is_on("banner")))

        @override({"banner": False})
        def test_own(self) -> None:
            found.append(("own", gate.is_on("banner")))
            raise ZeroDivisionError

    class Alone(unittest.TestCase):
        @ON
        def test_method(self) -> None:
            found.append(("method", gate.is_on("banner")))

        def test_other(self) -> None:
            found.append(("other", gate.is_on("banner")))

    class Async(unittest.IsolatedAsyncioTestCase):
        @ON
        async def test_method(self) -> None:
            found.append(("async", gate.is_on("banner")))

    def run(case: type[unittest.TestCase]) -> list[tuple[str, bool]]:
        found.clear()
        result = unittest.TestResult()
        unittest.defaultTestLoader.loadTestsFromTestCase(case).run(result)
        assert result.testsRun == sum(name.startswith("test") for name in dir(case))
        assert len(result.errors) == (case is Tests)
        assert not gate.is_on("banner")
        return list(found)

    around = ("set up", True), ("tear down", True)
    assert run(Tests) == [around[0], ("inherited", True), around[1], around[0], ("own", False), around[1]]
    assert run(Parent) == [("inherited", False)]
    assert run(Alone) == [("method", True), ("other", False)]
    assert run(Async) == [("async", True)]


# --- what is refused ----------------------------------------------------------------------------


async def later(context: Context) -> bool:
    raise AssertionError("nobody could wait for it")


class Later:
    async def __call__(self, context: Context) -> bool:
        return await later(context)


@pytest.mark.parametrize(
    "answers",
    [
        "banner",
        ["banner"],
        None,
        {"banner": 1},
        {"banner": "on"},
        {"banner": None},
        {"banner": True, "tiered": 50},
        {1: True},
        {None: True},
        {"banner": later},
        {"banner": Later()},
    ],
)
def test_answers_that_are_none_are_refused(answers: Any) -> None:
    with pytest.raises(SettingError) as raised:
        override(answers)
    assert str(raised.value).startswith("override: ")
    assert '; allowed: names with True, False or a plain function of the Context: {"new-invoicing": True}, ' in str(
        raised.value
    )


@pytest.mark.parametrize("test", [None, "test", Context(), len])
def test_what_is_no_test_is_refused(test: Any) -> None:
    with pytest.raises(SettingError, match="a test or fixture function"):
        ON(test)


def test_a_class_without_tests_is_refused() -> None:
    class Settings:
        test_data = "no function"

    with pytest.raises(SettingError, match="Settings; allowed: a class with tests"):
        ON(Settings)


def test_the_package_has_two_names() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'overide'"):
        testing.overide  # noqa: B018  # a typing error


def test_it_says_nothing_of_a_gate_that_is_closed(gate: Gate, open_gate: OpenGate) -> None:
    with closing(gate):
        assert not gate.is_on("banner")
    with override({"new-invoicing": True}):
        assert open_gate("memory://").is_on("new-invoicing")
        assert gate.is_on("new-invoicing"), "who asks it still is answered"
