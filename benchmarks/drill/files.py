"""What goes wrong with files; and the file that turns flags off without a store."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import Final

from benchmarks.drill.load import IN_MANCHESTER, is_in_manchester
from benchmarks.drill.plan import LOCAL, OWNER, PLAN, SWITCH
from benchmarks.drill.scene import WORKERS, Scene, scene
from benchmarks.drill.seen import Drill, Seen
from benchmarks.drill.servers import Server, kill_all
from flaggate.web.geo import LOOK_SECONDS
from tests.e2e.servers import ask
from tests.runtime.scenes import until
from tests.web.city_files import LEEDS, MANCHESTER, city_file

__all__ = ["DRILLS"]

_NEW: Final = f"""
[flags.new-switch]
description = "One more"
owner = "{OWNER}"
"""


def city_garbage(kind: type[Server], folder: Path, seen: Seen) -> None:
    """The City file written over by garbage, then cut in half, then replaced by a good one that says something else."""
    with scene(kind, folder) as made:
        good = made.cities.read_bytes()
        for content in (b"\x00\xffgarbage" * 5000, good[: len(good) // 2]):
            made.cities.write_bytes(content)
            made.passes(1.5 * LOOK_SECONDS)  # each worker has looked
        told = made.site.log.read_text(errors="replace").count("cannot be used")
        seen.say(f"{told} times the log says so", told >= WORKERS)
        made.places_until = monotonic()
        draft = made.cities.with_suffix(".new")
        draft.write_bytes(city_file({"81.2.69.0/24": LEEDS, "90.203.16.0/20": MANCHESTER}))
        since = monotonic()
        draft.replace(made.cities)
        took = made.all_answer(lambda each: each.local is not is_in_manchester(each.number), since)
        words = "not within 20 s" if took is None else f"{took:.1f} s after"
        seen.say(
            f"a good file is served by all workers {words} it was there", took is not None and took <= 2 * LOOK_SECONDS
        )
        made.finish(seen)


def half_definitions(kind: type[Server], folder: Path, seen: Seen) -> None:
    """In place, up to the middle of a line; and then the rest."""
    path = folder / "flags.toml"
    path.write_text(PLAN)
    with scene(kind, folder, environment={"DRILL_DEFINITIONS": str(path)}) as made:
        revision = made.store.revision()
        text = PLAN.replace("A switch that is killed", "Another description") + _NEW
        with path.open("w") as file:
            file.write(text[: text.index("One more")])
            file.flush()
            until(lambda: "toml" in str(made.site.where()["problem"]).lower(), "a worker says what is wrong")
            made.passes(2 + made.store.poll_seconds)
            seen.say("half of it changed nothing, and the workers say what is wrong", made.store.revision() == revision)
            file.write(text[text.index("One more") :])
        since = monotonic()
        until(lambda: made.store.revision() > revision, "it is applied")
        took = made.all_answer(lambda each: each.revision > revision, since)
        within = 2 + 3 * made.store.poll_seconds
        words = "not within 20 s" if took is None else f"{took:.2f} s after"
        seen.say(f"the whole served by all workers {words} it was there", took is not None and took <= within)
        made.passes(1)
        names = [event.name for event in made.store.history(limit=1000) if event.actor == "file flags.toml"]
        seen.say(f"events by the file: {', '.join(sorted(names))}", sorted(names) == [SWITCH, "new-switch"])
        made.finish(seen)


def off_file(kind: type[Server], folder: Path, seen: Seen) -> None:
    """While the store is gone: a file that is not there, or a server that says nothing."""
    with scene(kind, folder, wired=kind.has_port) as made:
        with made.wire.silent() if kind.has_port else _gone(made):
            made.passes(2)
            made.directory.joinpath("off").write_text(f"{SWITCH}  # for the drill\n")
            took = made.all_answer(lambda each: not each.switch, monotonic())
            words = "not within 20 s" if took is None else f"{took:.2f} s after"
            seen.say(f"off in all workers {words} the file was written", took is not None and took <= _OFF_SECONDS)
            with made.another_site(FLAGGATE_OFF=LOCAL) as site:
                headers = {"X-User": "user-1", "X-Forwarded-For": IN_MANCHESTER}
                told = [ask(site.port, "/", headers).json() for _ in range(20)]
                is_off = not any(each["switch"] or each["local"] for each in told)
                is_known = all(each["revision"] > 0 and each["arm"] is not None for each in told)
                words = "workers that started meanwhile answer from the copy on disk, and FLAGGATE_OFF"
                seen.say(
                    words if is_off and is_known else f"workers that started meanwhile: {told}", is_off and is_known
                )
                kill_all([site.process.pid, *site.workers()])  # what it counted is not looked for
            made.directory.joinpath("off").unlink()
        took = made.all_answer(lambda each: each.switch, monotonic())
        seen.say(
            "on again once the file has gone" if took is not None else "still off without the file", took is not None
        )
        made.finish(seen)


@contextmanager
def _gone(made: Scene) -> Iterator[None]:
    made.server.kill()
    yield
    made.server.restart()


_OFF_SECONDS: Final = 15.0
"""A server that says nothing keeps the thread that looks for as long as it is waited for."""
DRILLS: Final = (
    Drill(
        "city-file-garbage",
        "The City file overwritten by garbage, and cut in half: the one before goes on serving, it is said in the log, and a "
        f"good one is served within {2 * LOOK_SECONDS:.0f} s",
        city_garbage,
        ("sqlite",),
    ),
    Drill(
        "definitions-half-written",
        "A definitions file that ends in the middle of a line: nothing changes, and it is said why; the whole file is served "
        "within 2 s and three polls, with one event for each flag that it changes",
        half_definitions,
    ),
    Drill(
        "off-without-store",
        f"The store does not answer: the file `off` turns a flag off in all workers within {_OFF_SECONDS:.0f} s, FLAGGATE_OFF in "
        "those that start, which answer the rest from the copy on disk",
        off_file,
    ),
)
