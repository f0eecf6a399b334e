"""The counts of the store on the Django ORM, their windows, and the sets of units: what it does within a transaction
of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from django.db import connections

from flaggate.contrib.django import models as tables
from flaggate.stores import sums
from flaggate.stores.base import WINDOW_SECONDS, Arm, Count, Report, UnitSum, Window
from flaggate.stores.columns import count_columns, count_of

__all__ = ["Counts"]

_MOST_AT_ONCE: Final = 500
"""Parameters of a query; SQLite takes 999 at least."""


class Counts:
    """In the database of that alias. Names are compared here: MySQL compares without regard to case."""

    def __init__(self, alias: str) -> None:
        self._alias = alias

    def _of(self, table: type[Any]) -> Any:
        return table.objects.using(self._alias)

    def add(self, report: Report, now: float) -> None:
        """Add it, unless it was added already. Nobody else writes meanwhile."""
        processes, at = self._of(tables.Process), int(now)
        this = processes.filter(pk=report.process)
        last = this.values_list("sequence", flat=True).first()
        if last is None:
            processes.filter(seen__lt=at - sums.FORGET_SECONDS).delete()
            processes.create(id=report.process, sequence=report.sequence, seen=at)
        elif report.sequence <= last:
            return
        else:
            this.update(sequence=report.sequence, seen=at)
        if found := sums.merged(report.counts):
            self._add(tables.Count, found, {})
            self._add(tables.Window, found, {"began": sums.span_began(now, WINDOW_SECONDS)})
        for group, seen in sums.units_of(report.units, now).items():
            self._add_units(group, seen)
        if sums.forgets(report, is_first=last is None):
            self._forget(report, now)

    def remove(self, flags: Iterable[str]) -> None:
        """Whatever was counted of them."""
        # Not by numbers that were read: MySQL's REPEATABLE READ may show those of an hour ago.
        sets = self._of(tables.UnitSet).filter(flag__in=flags)
        self._of(tables.Unit).filter(unit_set__in=sets.values("id")).delete()
        sets.delete()
        for table in (tables.Count, tables.Window):
            self._of(table).filter(flag__in=flags).delete()

    # --- counts -------------------------------------------------------------------------

    def _add(self, table: type[Any], found: Mapping[sums.Place, Count], window: dict[str, int]) -> None:
        """Add to those that are there already, of the window if it is of one."""
        flags, attempts, stages = ({place[index] for place in found} for index in range(3))
        near = self._of(table).filter(flag__in=flags, attempt__in=attempts, stage__in=stages, **window)
        known = {sums.count_place(row): row for row in near}
        new, changed = [], []
        for place, count in found.items():
            row = known.get(place)
            if row is None:
                flag, attempt, stage, arm = place
                values = window | count_columns(count)
                new.append(table(flag=flag, attempt=attempt, stage=stage, arm=arm, **values))
                continue
            for name, value in count_columns(sums.plus(count_of(row), count)).items():
                setattr(row, name, value)
            changed.append(row)
        self._of(table).bulk_create(new)
        self._of(table).bulk_update(changed, ["requests", "errors", "histogram", "measured"])

    def counts(self, flag: str | None) -> list[Count]:
        query = self._of(tables.Count).all()
        if flag is not None:
            query = query.filter(flag=flag)
        found = [count_of(row) for row in query if flag in (None, row.flag)]
        return sorted(found, key=sums.count_place)  # not ORDER BY: a database's collation may pass over hyphens

    def windows(self, flag: str, since: float) -> list[Window]:
        query = self._of(tables.Window).filter(flag=flag, began__gt=int(since // 1) - WINDOW_SECONDS)
        found = [Window(row.began, count_of(row)) for row in query if row.flag == flag]
        return sorted(found, key=lambda window: (window.began, sums.count_place(window.count)))

    # --- units --------------------------------------------------------------------------

    def _add_units(self, group: sums.Group, seen: Mapping[sums.Member, int]) -> None:
        sets = {row.arm: row for row in self._sets(**group._asdict()) if row.metric == group.metric}
        known = self._known({row.id: arm for arm, row in sets.items()}, {unit for _, unit in seen})
        after = sums.grown(group, seen, known, sum(row.units for row in sets.values()))
        for arm, change in sums.growth(known, after).items():
            if arm not in sets:
                sets[arm] = tables.UnitSet(**group._asdict(), arm=arm, units=0, bad=0, squares=0)
            for name, value in change._asdict().items():
                setattr(sets[arm], name, getattr(sets[arm], name) + value)
            sets[arm].save(using=self._alias)
        has_target = connections[self._alias].features.supports_update_conflicts_with_target
        self._of(tables.Unit).bulk_create(
            [tables.Unit(unit_set=sets[arm].id, unit=unit, bad=bad) for (arm, unit), bad in after.items()],
            update_conflicts=True,
            update_fields=["bad"],
            unique_fields=["unit_set", "unit"] if has_target else None,
        )

    def _sets(self, *, flag: str, **values: Any) -> list[tables.UnitSet]:
        return [row for row in self._of(tables.UnitSet).filter(flag=flag, **values) if row.flag == flag]

    def _known(self, arms: Mapping[int, Arm], units: Iterable[str]) -> dict[sums.Member, int]:
        """Those that are there already, and how many of their requests were bad."""
        found: dict[sums.Member, int] = {}
        for some in sums.batches(units if arms else (), _MOST_AT_ONCE):
            query = self._of(tables.Unit).filter(unit_set__in=arms, unit__in=some)
            rows = query.values_list("unit_set", "unit", "bad")
            found |= {(arms[number], unit): bad for number, unit, bad in rows}
        return found

    def units(self, flag: str, attempt: int, stage: int) -> list[UnitSum]:
        found = [
            UnitSum(row.arm, row.metric, row.span, row.began, row.units, row.bad, row.squares)
            for row in self._sets(flag=flag, attempt=attempt, stage=stage)
        ]
        return sorted(found, key=lambda one: (one.metric, one.span, one.began, one.arm))

    # --- forgetting ---------------------------------------------------------------------

    def _forget(self, report: Report, now: float) -> None:
        self._of(tables.Window).filter(began__lt=sums.oldest_window(now)).delete()
        rows = self._of(tables.UnitSet).order_by("id").values_list("id", "units", *sums.Group._fields)
        found = ((number, size, sums.Group(*group)) for number, size, *group in rows)
        for some in sums.batches(sums.sets_over(found, sums.newest_stages(report), now), _MOST_AT_ONCE):
            self._of(tables.Unit).filter(unit_set__in=some).delete()
            self._of(tables.UnitSet).filter(id__in=some).delete()
