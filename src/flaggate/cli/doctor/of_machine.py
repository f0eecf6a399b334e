"""What this machine says: versions, the copy on disk, the off switch, the City file, and the proxies that are trusted."""

from __future__ import annotations

import json
import os
import platform
import sqlite3
import time
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from flaggate import __version__
from flaggate.cli.doctor.finding import Finding, ok, warning, wrong
from flaggate.errors import FlaggateError, SettingError, StoreError
from flaggate.flags.words import counted
from flaggate.runtime.disk import DiskCopy
from flaggate.runtime.off_switch import OffSwitch
from flaggate.stores.base import Store
from flaggate.web.client_ip import ClientAddresses

__all__ = ["EXTRAS", "city_file", "copy_on_disk", "off_switch", "proxies", "versions"]

EXTRAS: Final[Mapping[str, str]] = {
    "django": "django",
    "flask": "flask",
    "starlette": "starlette",
    "fastapi": "fastapi",
    "console": "uvicorn",
    "geoip": "geoip2",
    "notify": "apprise",
    "prometheus": "httpx2",
    "metrics": "prometheus_client",
    "otel": "opentelemetry",
    "visitor": "itsdangerous",
    "postgresql": "psycopg",
}
"""The module that says whether an extra is there."""
_CITY_DAYS: Final = 60
"""MaxMind's own file is new twice a week."""


def versions() -> Iterator[Finding]:
    """Of what runs here."""
    words = f"flaggate {__version__}, Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}"
    yield ok("versions", f"{words}, {platform.system()} {platform.machine()}")
    there = [extra for extra, module in EXTRAS.items() if find_spec(module) is not None]
    yield ok("extras", ", ".join(there) or "none")


def copy_on_disk(store: Store, directory: Path | None) -> Finding:
    """Whether a start in an outage has something to start from."""
    if directory is None:
        todo = "say --directory or FLAGGATE_DIRECTORY, to the app as well"
        return warning("copy", "no directory: a process that starts in an outage has everything off", todo)
    copy = DiskCopy(directory)
    if not copy.path.exists():
        todo = "the app makes it when it has read the store: does it have the right to write there?"
        return warning("copy", f"{copy.path} is not there", todo)
    try:
        load, (identity, revision) = copy.load(), copy.head()
    except (FlaggateError, OSError, ValueError) as error:
        return warning("copy", f"{error}", "the app makes it anew with the next change; or remove it")
    age = max(0.0, time.time() - copy.path.stat().st_mtime)
    rows = 0 if load is None else len(load.rows)
    words = f"{copy.path}: revision {revision}, {counted(rows, 'row')}, written {_age(age)} ago"
    if not os.access(directory, os.W_OK):
        return warning(
            "copy", f"{words}; nobody here can write it", f"give the app's user the right to write {directory}"
        )
    return _agrees(store, identity, revision, words)


def _agrees(store: Store, identity: str, revision: int, words: str) -> Finding:
    try:
        newest = store.revision()
    except StoreError:
        return ok("copy", f"{words}; the store cannot be asked whether it agrees")
    todo = "the app's next round writes it: does a process of this machine run, and with this directory?"
    if store.identity != identity:
        return warning("copy", f"{words}; it is of another store", todo)
    if newest != revision:
        return warning("copy", f"{words}; the store is at {newest}", todo)
    return ok("copy", f"{words}; it agrees with the store")


def off_switch(directory: Path | None) -> Finding:
    """Whether something is off here whatever the store says."""
    switch = OffSwitch(directory)
    names = switch.names()
    where = "FLAGGATE_OFF" if directory is None else f"FLAGGATE_OFF or {directory / 'off'}"
    if switch.problem is not None:
        return wrong("off switch", switch.problem, f"write names, or *, into {where}; or take it away")
    if names:
        what = "everything is" if "*" in names else f"{', '.join(sorted(names))}:"
        return warning(
            "off switch", f"{what} off on this machine, whatever the store says", f"when it is over: {where}"
        )
    return ok("off switch", f"nothing is off by {where}")


def city_file(path: Path | None) -> Finding:
    """Whether the City file can be read, and how old it is."""
    if path is None:
        return ok("city file", "none was named: say --geo or FLAGGATE_GEO, if flags ask for places")
    try:
        import maxminddb  # geoip2 brings it
    except ImportError:
        return wrong("city file", f"{path} cannot be read here", "pip install 'flaggate[geoip]'")
    try:
        with maxminddb.open_database(path, maxminddb.MODE_FILE) as opened:
            metadata = opened.metadata()
    except (OSError, ValueError, maxminddb.InvalidDatabaseError) as error:
        return wrong("city file", f"{path}: {error}", "a City file in MaxMind's format, such as GeoLite2-City.mmdb")
    age = max(0.0, time.time() - metadata.build_epoch)
    words = f"{path}: {metadata.database_type}, made {_age(age)} ago"
    if "City" not in metadata.database_type:
        return wrong("city file", words, "a City file: other ones know no cities")
    if age > _CITY_DAYS * 86_400:
        return warning("city file", words, "geoipupdate brings a new one; networks move between places")
    return ok("city file", words)


def proxies(written: str | None) -> Finding:
    """What is trusted to say who asks.

    Args:
        written: As the example apps take it: a list in JSON; or with commas or white space between them.
    """
    if not written:
        return ok("proxies", "none is named here: say --trusted-proxies, or what the app trusts is seen by --url")
    try:
        named = json.loads(written) if written.lstrip().startswith("[") else written.replace(",", " ").split()
        trusted = ClientAddresses(named)
    except (SettingError, ValueError, TypeError) as error:
        return wrong("proxies", f"{error}", "networks and addresses of your own proxies: 10.0.0.0/8")
    words = f"{', '.join(map(str, named))} may say whose request it is"
    if any(trusted.is_trusted(address) for address in ("192.0.2.1", "2001:db8::1")):  # nobody's: for documentation
        return warning("proxies", f"{words}: that is anyone", "name your own proxies, and nobody else")
    return ok("proxies", words)


def _age(seconds: float) -> str:
    for size, word in ((86_400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= size:
            return counted(int(seconds // size), word)
    return counted(int(seconds), "second")
