"""The command: a line for each thing, ok, warning or wrong, and what to do."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

from flaggate.cli.doctor.finding import Finding
from flaggate.cli.doctor.of_app import app
from flaggate.cli.doctor.of_machine import city_file, copy_on_disk, off_switch, proxies, versions
from flaggate.cli.doctor.of_store import of_store
from flaggate.cli.options import as_json, directory_of, directory_option, store_option
from flaggate.cli.render import line, print_json
from flaggate.stores.base import Store

__all__ = ["doctor"]


@click.command(
    help="What is configured, what answers and how fast, and what to do about what does not. Exit code 1 if anything is "
    "wrong; a warning is none."
)
@click.option(
    "--geo", metavar="FILE", envvar="FLAGGATE_GEO", show_envvar=True, type=click.Path(path_type=Path),
    help="The City file.",
)  # fmt: skip
@click.option(
    "--trusted-proxies", metavar="NETWORKS", envvar="FLAGGATE_TRUSTED_PROXIES", show_envvar=True,
    help="What the app trusts: 10.0.0.0/8,::1",
)  # fmt: skip
@click.option("--url", metavar="URL", help="An app to ask for its health page: http://127.0.0.1:8000")
@directory_option
@store_option
@as_json
def doctor(
    geo: Path | None, trusted_proxies: str | None, url: str | None, directory: Path | None, store: Store, is_json: bool
) -> int:
    """Look, and say. Returns the exit code."""
    found: list[Finding] = []
    for finding in _findings(geo, trusted_proxies, url, directory_of(store, directory), store):
        found.append(finding)
        if not is_json:
            line(f"{finding.state:<8} {finding.subject}: {finding.words}")
            if finding.todo is not None:
                line(f"         -> {finding.todo}")
    states = [finding.state for finding in found]
    if is_json:
        print_json({"is_ok": "wrong" not in states, "findings": [finding._asdict() for finding in found]})
    return int("wrong" in states)


def _findings(
    geo: Path | None, trusted_proxies: str | None, url: str | None, directory: Path | None, store: Store
) -> Iterator[Finding]:
    yield from versions()
    yield from of_store(store)
    yield copy_on_disk(store, directory)
    yield off_switch(directory)
    yield city_file(geo)
    yield proxies(trusted_proxies)
    if url is not None:
        yield app(url)
