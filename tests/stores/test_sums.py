"""What a store deletes at once of the sets of units: not so much that all others wait for it."""

from flaggate.stores.base import HOUR_SECONDS, MOST_UNITS, UNITS_KEPT_SECONDS
from flaggate.stores.sums import Group, sets_over

NOW = 1_800_000_000.0
LONG_PAST = int(NOW) - UNITS_KEPT_SECONDS - 2 * HOUR_SECONDS


def _group(stage: int, span: int = 0, began: int = 0) -> Group:
    return Group("a", 1, stage, "errors", span, began)


def test_what_is_over_is_deleted_bit_by_bit() -> None:
    """And all of it in the end, sets that are full as well."""
    sets = {number: (MOST_UNITS // 2 if number % 4 else MOST_UNITS, _group(1)) for number in range(20)}
    rounds = 0
    while sets:
        over = list(sets_over(((number, *one) for number, one in sets.items()), {"a": (1, 2)}, NOW))
        assert over
        assert sum(sets.pop(number)[0] for number in over) < 2 * MOST_UNITS
        rounds += 1
    assert rounds > 5


def test_only_what_is_over_is_deleted() -> None:
    sets = [
        (1, 5, _group(2)),
        (2, 5, _group(3, HOUR_SECONDS, LONG_PAST)),
        (3, 5, _group(3, HOUR_SECONDS, int(NOW) - HOUR_SECONDS)),
        (4, 5, _group(3)),
    ]
    assert list(sets_over(sets, {"a": (1, 3)}, NOW)) == [1, 2]
    assert list(sets_over(sets, {"b": (9, 9)}, NOW)) == [2]
