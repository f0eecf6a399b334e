"""explain: whether a flag is on for somebody, and why."""

from __future__ import annotations

import json
from typing import Any

import click

from flaggate.cli.off import off_here
from flaggate.cli.options import as_json, flag_argument, store_option
from flaggate.cli.render import line, print_json
from flaggate.decide.context import Context
from flaggate.decide.decision import Decision
from flaggate.decide.explain import Explanation
from flaggate.decide.explain import explain as explain_flag
from flaggate.stores.base import Store
from flaggate.stores.record import flag_row, record_of, segments_in

__all__ = ["explain"]


def _attributes(_context: click.Context, _parameter: click.Parameter, texts: tuple[str, ...]) -> dict[str, Any]:
    attributes = {}
    for written in texts:
        name, is_there, value = written.partition("=")
        if not is_there:
            raise click.BadParameter(f"{written!r} has no value; say NAME=VALUE")
        try:
            attributes[name] = json.loads(value)
        except ValueError:
            attributes[name] = value
    return attributes


@click.command(help="Whether a flag is on for somebody, and why, step by step.")
@flag_argument
@click.option("--user", help="The user's key.")
@click.option("--account", help="The account's key.")
@click.option("--visitor", help="The visitor's key.")
@click.option("--staff", is_flag=True, help="One of our own.")
@click.option("--group", "groups", multiple=True, help="A group; may be said several times.")
@click.option("--tier", help="The account's tier.")
@click.option("--city", help="The city's English name.")
@click.option("--city-id", type=int, help="The city's GeoNames id.")
@click.option("--region", help="The region.")
@click.option("--country", help="The country's ISO 3166 code.")
@click.option("--ip", help="The client's address.")
@click.option(
    "--attribute", "attributes", metavar="NAME=VALUE", multiple=True, callback=_attributes,
    help="One of the app's own; VALUE is JSON, else text.",
)  # fmt: skip
@store_option
@as_json
def explain(flag: str, store: Store, is_json: bool, **asked: Any) -> None:
    """Explain a decision."""
    row, off = flag_row(store, flag), off_here(store)
    if off.covers(flag):  # the words of Gate.explain
        steps = ("kill: yes, in this process (FLAGGATE_OFF or the off file)",)
        explanation = Explanation(Decision(flag, False, "killed"), steps)
    else:
        record = record_of(row)
        segments = dict(segments_in(store.changes().rows))
        explanation = explain_flag(record.flag, record.rollout, Context(**asked), segments)
    if is_json:
        print_json(explanation.decision._asdict() | {"steps": explanation.steps})
        return
    if off.problem is not None:
        line(off.problem, err=True)
    for step in explanation.steps:
        line(step)
    line("on" if explanation.decision.is_on else "off")
