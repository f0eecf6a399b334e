"""flaggate demo: 500 people go through the whole plan, served by two processes of a real app, over HTTP."""

from __future__ import annotations

import json
import secrets
import signal
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from http.client import HTTPException
from importlib.resources import files
from importlib.util import find_spec
from math import ceil
from pathlib import Path
from time import sleep
from types import FrameType
from typing import Final

import click

from flaggate.cli.demo.looker import looking
from flaggate.cli.demo.pages import ConsoleServer, show
from flaggate.cli.demo.people import STAGES, Person, make_people, one_of_each_kind
from flaggate.cli.demo.server import AppServer
from flaggate.cli.demo.telling import SOAK_HOURS, Teller, print_end, print_stay, stay_to_json, walk_to_json
from flaggate.cli.demo.walk import BROKEN, FLAG, OWNER, Walk
from flaggate.cli.options import as_json
from flaggate.cli.render import line, print_json
from flaggate.errors import FlaggateError
from flaggate.flags.document import Definitions, parse
from flaggate.flags.words import stage_words
from flaggate.rollout.state import Verb
from flaggate.runtime.control import Control
from flaggate.stores import open_store
from flaggate.stores.record import read_flag

__all__ = ["demo"]

_PROCESSES: Final = 2
_KILLED_AT: Final = "tenth"
_EXTRA: Final = ("apprise", "flask", "geoip2", "jinja2", "mmdb_writer", "starlette", "uvicorn", "waitress")


@click.command(
    help="500 made-up people go through a whole rollout, served by two processes of a real Flask app. Takes about 25 "
    "seconds."
)
@click.option("--people", type=click.IntRange(min=100), default=500, show_default=True, help="How many.")
@click.option("--seed", type=int, default=1, show_default=True, help="Other people for another number.")
@click.option("--pace", type=click.FloatRange(min=0), default=1.0, show_default=True, help="Seconds for a day of soak.")
@click.option("--stay", "is_staying", is_flag=True, help="Stop at stage tenth, and leave the app up to look at.")
@as_json
def demo(people: int, seed: int, pace: float, is_staying: bool, is_json: bool) -> int:
    """Run the demo. Exit code 0 only if every page was as predicted, and every request counted."""
    if any(find_spec(name) is None for name in _EXTRA):
        raise click.UsageError("the demo serves a Flask app, and needs more: pip install 'flaggate[demo]'")
    crowd = make_people(people, seed)
    plan = files("flaggate.cli.demo").joinpath("plan.toml").read_text(encoding="utf-8")
    definitions = parse(plan, source="plan.toml")
    try:
        with _ended_by_sigterm():
            teller = Teller(people, pace, _seconds(people, pace, is_staying), is_quiet=is_json)
            walk = _run(crowd, definitions, teller, is_staying, is_json)
    except (OSError, HTTPException) as error:
        raise FlaggateError(f"the demo does not run here: {str(error) or error!r}") from error
    return 0 if walk.is_right() else 1


def _seconds(people: int, pace: float, is_staying: bool) -> int:
    """How long it takes on a small machine, to the next five seconds: soaks, pages of both processes, the start."""
    soaks, looks = (3, 7) if is_staying else (4, 14)
    return 5 * ceil((soaks * pace + looks * people / 500 + 3) / 5)


def _run(crowd: list[Person], definitions: Definitions, teller: Teller, is_staying: bool, is_json: bool) -> Walk:
    with _begun(crowd, definitions, is_shown=is_staying or not is_json) as (walk, page):
        is_shown = page is not None and not is_json and _shown(page)
        _go(walk, teller, is_staying)
        walk.count()
        if is_json:
            print_json(walk_to_json(walk) | (stay_to_json(walk, page) if is_staying else {}))
        else:
            print_end(walk)
        if is_staying:
            if not is_json:
                print_stay(walk)
            _stay(walk, is_quiet=is_json)
        elif is_shown:
            line()
            line("Its page stays up until Ctrl-C.")
            _stay(walk, is_quiet=False)
    return walk


def _shown(page: ConsoleServer) -> bool:
    line("The owner's page, which signs you in once:")
    line(f"  {page.url}")
    line()
    return show(page.url)


@contextmanager
def _begun(
    crowd: list[Person], definitions: Definitions, *, is_shown: bool
) -> Iterator[tuple[Walk, ConsoleServer | None]]:
    """A folder, a store with the plan, and processes; all of it ends with the demo."""
    from flaggate.cli.demo.city_file import write_city_file  # mmdb_writer: an extra

    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="flaggate-demo-")))
        write_city_file(folder / "cities.mmdb")
        (folder / "people.json").write_text(
            json.dumps([person.profile() for person in _as_listed(crowd)]), encoding="utf-8"
        )
        store = open_store(f"sqlite:///{folder / 'flags.db'}")
        stack.callback(store.close)
        control = Control(store)
        control.apply(definitions, actor=OWNER)
        settings = {
            "SECRET_KEY": secrets.token_hex(),
            "PEOPLE_FILE": str(folder / "people.json"),
            "FLAGGATE_STORE": store.url,
            "FLAGGATE_GEO": str(folder / "cities.mmdb"),
            "FLAGGATE_TRUSTED_PROXIES": '["127.0.0.1"]',  # so the demo may say where its people are
        }
        webhook = stack.enter_context(looking(store, folder))
        # Before the servers, and so ended after them: a thread that asks one is let go when that ends.
        threads = stack.enter_context(ThreadPoolExecutor(_PROCESSES))
        servers = [stack.enter_context(closing(AppServer(settings))) for _ in range(_PROCESSES)]
        page = stack.enter_context(closing(ConsoleServer(store.url))) if is_shown else None
        for server in servers:
            server.begin()
        if page is not None:
            page.begin()
        walk = Walk(crowd, control, servers, threads, webhook.heard, folder / BROKEN)
        walk.sign_in()
        yield walk, page


def _as_listed(crowd: list[Person]) -> list[Person]:
    """In the order of the sign-in page, which has a button for each of the first: those who are told of come before."""
    first = list(dict.fromkeys(one_of_each_kind(crowd).values()))
    return [*first, *(person for person in crowd if person not in first)]


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """SIGTERM as an exception, so that what was made for the demo goes with it."""

    def end(_signal: int, _frame: FrameType | None) -> None:
        sys.exit(128 + signal.SIGTERM)  # as a shell says it

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _go(walk: Walk, teller: Teller, is_staying: bool) -> None:
    """From draft to completed, with a kill on the way."""
    flag = read_flag(walk.control.store, FLAG).flag
    teller.row(walk, walk.look("draft", 0), "nobody: it has not started")
    for number, name in enumerate(STAGES, 1):
        if number == 1:
            walk.act(Verb.START)
        else:
            teller.soak(STAGES[number - 2])
            walk.act(Verb.ADVANCE, f"demo: {SOAK_HOURS} h of soak went by in no time")
        teller.row(walk, walk.look(name, number), stage_words(flag.stages[number - 1]))
        if name == _KILLED_AT:
            _kill_and_take_back(walk, teller, number)
            if is_staying:
                return
            _fail_and_mend(walk, teller, number)
    walk.act(Verb.COMPLETE, "demo: 48 h went by in no time")
    teller.row(walk, walk.look("completed", len(STAGES)), "everyone but the denied account")


def _kill_and_take_back(walk: Walk, teller: Teller, stage: int) -> None:
    walk.kill()
    times = " and ".join(f"{seconds * 1000:.0f} ms" for seconds in walk.kill_seconds)
    row = walk.look(f"{_KILLED_AT}, killed", 0)
    teller.row(walk, row, f"nobody; the processes served the old page after {times}")
    walk.act(Verb.UNKILL, "demo: a false alarm")
    teller.row(walk, walk.look(f"{_KILLED_AT}, unkilled", stage), "the same people as before the kill")


def _fail_and_mend(walk: Walk, teller: Teller, stage: int) -> None:
    """The new page fails for some, is rolled back by itself, and comes back mended."""
    walk.broken.touch()
    walk.browse_until_rolled_back()
    teller.fall(walk)
    teller.row(walk, walk.look(f"{_KILLED_AT}, rolled back", 0), "nobody: it is latched until somebody restarts it")
    walk.broken.unlink()
    walk.act(Verb.RESTART, "demo: the page knows euros now")
    for _ in range(stage - 1):
        walk.act(Verb.ADVANCE, "demo: as far as it was")
    teller.row(walk, walk.look(f"{_KILLED_AT}, mended", stage), "the same people as before")


def _stay(walk: Walk, *, is_quiet: bool) -> None:
    """Leave it up until Ctrl-C."""
    try:
        while all(server.is_running() for server in walk.servers):
            sleep(0.2)
    except KeyboardInterrupt:
        if not is_quiet:
            line()
        return
    raise FlaggateError("a process of the demo has ended")
