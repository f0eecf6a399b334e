"""Where an address is, by a MaxMind City file: looked up when a rule asks, and read again when the file is replaced.

The file itself is never mapped into memory: whoever truncates it in place would take the process down (SIGBUS).
What is mapped is a copy beside the store, which all processes of the machine share and nobody changes.
"""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Callable
from contextlib import contextmanager, suppress
from functools import lru_cache
from ipaddress import ip_address
from pathlib import Path
from time import monotonic, sleep, time
from typing import TYPE_CHECKING, BinaryIO, Final, NamedTuple, TypeAlias

import maxminddb
from geoip2.database import Reader
from geoip2.errors import AddressNotFoundError

from flaggate.decide.bucket import fingerprint
from flaggate.errors import SettingError
from flaggate.web.client_ip import address_in

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["LOOK_SECONDS", "NOWHERE", "RETRY_SECONDS", "Geo", "Place"]

LOOK_SECONDS: Final = 2.0
"""How often a process looks whether the file was replaced."""
RETRY_SECONDS: Final = 60.0
"""How soon it looks again when the file has gone or cannot be copied: a full disk is not filled at every look."""

_CACHED: Final = 4096
"""Addresses whose place is remembered: 1.3 MB when full."""
_LOOKED_THROUGH: Final = 500
"""How many networks of a new file are read before it is believed; about as many addresses from all over it, too."""
_COPYING_SECONDS: Final = 10.0
"""How long another process may take to copy; then it is thought to hang."""
_ALLOWED: Final = "a City file in MaxMind's format, such as GeoLite2-City.mmdb"

_Stamp: TypeAlias = tuple[int, ...]
"""What a file looks like: another one, and one that was written to, has another."""


class Place(NamedTuple):
    """Where an address is; what the file does not know is None."""

    city: str | None = None
    """The English name."""
    city_id: int | None = None
    """GeoNames."""
    region: str | None = None
    """The English name of the largest part of the country: England, Bavaria."""
    country: str | None = None
    """ISO 3166-1 alpha-2."""


NOWHERE: Final = Place()


class _UnreadableError(Exception):
    """What is wrong with a file."""


class _BusyError(Exception):
    """Another process is copying just now."""


class Geo:
    """Places by address.

    Args:
        file: The City file.
        directory: On a disk of this machine; there its processes share a copy. None = each makes its own.
        say: Called with what an operator should read; perhaps again, as long as it is so.
        clock: Seconds that only grow.

    Raises:
        SettingError: the file is not there, is no City file, or is damaged.
    """

    def __init__(
        self,
        file: str | os.PathLike[str],
        directory: str | os.PathLike[str] | None,
        say: Callable[[str], None],
        clock: Callable[[], float] = monotonic,
    ) -> None:
        path = os.fspath(file) if isinstance(file, os.PathLike) else file
        if not isinstance(path, str) or not path:
            raise SettingError("geo", file, _ALLOWED)
        self._file = Path(path).absolute()
        self._directory = None if directory is None else Path(directory).absolute()
        self._say = say
        self._clock = clock
        self._next_look = clock() + LOOK_SECONDS
        self._seen: _Stamp = ()
        """Of the file that was taken last, or found unreadable."""
        try:
            while not self._take():
                sleep(0.02)
        except (OSError, ValueError, _UnreadableError) as error:  # ValueError: a path with a NUL
            raise SettingError("geo", str(self._file), f"{_ALLOWED} ({error})") from error

    def place(self, address: str) -> Place:
        """Where the address is; NOWHERE for one that is private, unknown or no address. Raises nothing."""
        return self._place(address)

    def look(self) -> None:
        """Take another file that was put in its place; for the keeper. Raises nothing."""
        now = self._clock()
        if now < self._next_look:
            return
        self._next_look = now + LOOK_SECONDS
        try:
            self._take()
        except (OSError, _UnreadableError) as error:
            if isinstance(error, OSError):
                self._next_look = now + RETRY_SECONDS
            self._say(f"geo: {self._file} cannot be used ({error}); the one before goes on serving")

    def _take(self) -> bool:
        """Serve the file as it is now. False: another process is copying it, and this one is to come again."""
        if _stamp(os.stat(self._file)) == self._seen:
            return True
        with self._file.open("rb") as source:
            found = _stamp(os.fstat(source.fileno()))
            try:
                reader = self._open(source, found)
            except _BusyError:
                return False
            except _UnreadableError:
                self._seen = found  # it is not tried again until it changes
                raise
        self._place = lru_cache(_CACHED)(self._lookup(reader))  # at once: whoever looks up goes on with the one before
        self._seen = found  # last: a child that is forked meanwhile takes it by itself
        return True

    def _lookup(self, reader: Reader) -> Callable[[str], Place]:
        is_for_ipv4 = reader.metadata().ip_version == 4
        is_said = False

        def lookup(text: str) -> Place:
            nonlocal is_said
            address = address_in(text)
            if address is None or (is_for_ipv4 and ":" in address):
                return NOWHERE
            try:
                return _found(reader, address)
            except Exception as error:  # whatever damaged bytes lead to: the request goes on
                if not is_said:
                    is_said = True
                    self._say(f"geo: {self._file} is damaged ({error!r}); addresses like {address} have no place")
                return NOWHERE

        return lookup

    # --- the copy ---------------------------------------------------------------------------

    def _open(self, source: BinaryIO, found: _Stamp) -> Reader:
        if self._directory is not None:
            with suppress(OSError):  # a folder that is read-only or full: then as without one
                self._directory.mkdir(parents=True, exist_ok=True)
                return self._open_shared(self._directory, source, found)
        descriptor, own = tempfile.mkstemp(prefix="flaggate-", suffix=".mmdb")
        os.close(descriptor)
        try:
            _copy(source, Path(own), found)
            return _looked_through(own)
        finally:
            os.unlink(own)  # what is mapped stays, without a name

    def _open_shared(self, directory: Path, source: BinaryIO, found: _Stamp) -> Reader:
        family = f"geo-{fingerprint(repr(self._file))[:12]}"  # repr: also of a name that is no UTF-8
        path = directory / f"{family}-{fingerprint(repr(found))}.mmdb"
        shared = _shared(path)
        if shared is not None:
            return shared
        with _locked(directory / "geo.lock"):  # of forty workers that start together one copies
            shared = _shared(path)  # made since
            if shared is not None:
                return shared
            part = path.with_suffix(".part")
            try:
                _copy(source, part, found)
                reader = _looked_through(str(part))
                part.replace(path)
            finally:
                part.unlink(missing_ok=True)
            for old in directory.glob(f"{family}-*"):
                if old != path:
                    with suppress(OSError):
                        old.unlink()  # whoever has mapped it keeps it
            return reader


def _stamp(found: os.stat_result) -> _Stamp:
    if not stat.S_ISREG(found.st_mode):
        raise _UnreadableError("it is no regular file")  # reading a pipe could wait for ever
    # With st_ctime, which nobody can set back: cp -p and rsync -t give an older time to what they write into.
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Raises _BusyError: another process has it; OSError: and has it for so long that it hangs."""
    try:
        import fcntl
    except ImportError:  # pragma: no cover  # Windows: two copies at once cost time, and harm nothing
        yield
        return
    with path.open("ab") as file:
        try:
            # Never waiting: the keeper's next round may bring a kill.
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if abs(time() - os.fstat(file.fileno()).st_mtime) > _COPYING_SECONDS:
                raise
            raise _BusyError from None
        try:
            os.utime(path)  # since when it is held
            yield
        finally:
            # Not by closing it alone: a child that was forked meanwhile has it open too.
            fcntl.flock(file, fcntl.LOCK_UN)


def _copy(source: BinaryIO, target: Path, found: _Stamp) -> None:
    source.seek(0)
    with target.open("wb") as copy:
        shutil.copyfileobj(source, copy, 1 << 20)
    if _stamp(os.fstat(source.fileno())) != found:
        raise _UnreadableError("it changes while it is read")


def _shared(path: Path) -> Reader | None:
    """The copy that another process made and looked through; None if there is none, or a crash of the machine left
    only half of it."""
    with suppress(OSError, _UnreadableError):
        return _reader(str(path))
    return None


def _reader(path: str) -> Reader:
    """Map a file that nobody changes."""
    try:
        return Reader(path)
    except OSError:
        raise
    except Exception as error:  # InvalidDatabaseError, and whatever damaged bytes lead to
        raise _UnreadableError("it is in another format, or damaged") from error


def _looked_through(path: str) -> Reader:
    """The same, once many lookups have shown that it is a City file and not damaged."""
    reader = _reader(path)
    kind = reader.metadata().database_type
    if "City" not in kind:
        raise _UnreadableError(f"it is of type {kind}")
    try:
        with maxminddb.open_database(path) as records:
            places = {_found(reader, address) for address in _addresses(records)}
    except Exception as error:  # as above, and TypeError where a record is not shaped as MaxMind's
        raise _UnreadableError(f"it is damaged, or its records are not MaxMind's: {error}") from error
    if places <= {NOWHERE}:
        raise _UnreadableError("its records name no city and no country where MaxMind's do")
    return reader


def _addresses(records: maxminddb.Reader) -> Iterator[str]:
    """One of each network from the beginnings of a file, then some from everywhere.

    By lookups alone: in a damaged tree the reader's own iterator takes the process down (maxminddb 3.2).
    """
    for first in ["0.0.0.0"] if records.metadata().ip_version == 4 else ["0.0.0.0", "2000::"]:  # noqa: S104  # no server
        address = ip_address(first)
        for _ in range(_LOOKED_THROUGH):
            yield str(address)
            _, length = records.get_with_prefix_len(address)
            last = int(address) | (1 << address.max_prefixlen - length) - 1
            if last + 1 >> address.max_prefixlen:
                break
            address = type(address)(last + 1)
    for number in range(0, 1 << 32, (1 << 32) // _LOOKED_THROUGH):
        yield str(ip_address(number))


def _found(reader: Reader, address: str) -> Place:
    """Raises whatever a damaged file leads to."""
    try:
        found = reader.city(address)
    except AddressNotFoundError:
        return NOWHERE
    region = found.subdivisions[0].name if found.subdivisions else None
    return Place(found.city.name, found.city.geoname_id, region, found.country.iso_code)
