"""What every command takes: which store, who acts and why, and for whom the answer is."""

from __future__ import annotations

import getpass
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

import click
from click.core import ParameterSource

from flaggate.errors import SettingError, StoreError, closest
from flaggate.rollout.moves import AUTOMATIC
from flaggate.stores import open_store
from flaggate.stores.base import Store, without_password

__all__ = [
    "Host",
    "acting",
    "acting_name",
    "as_json",
    "definitions_file",
    "definitions_option",
    "directory_of",
    "directory_option",
    "flag_argument",
    "names",
    "no_place",
    "notify_option",
    "notify_option_of_cron",
    "opened_place",
    "program",
    "prometheus_option",
    "store_of_definitions",
    "store_option",
    "store_or_definitions",
    "text",
    "writing_store",
]

_Command = TypeVar("_Command", bound=Callable[..., Any])
_ALLOWED = "allowed: sqlite:///PATH, with four slashes for an absolute one; postgresql://USER@HOST/DATABASE; redis://HOST:6379/0"
_SCHEMES = ["sqlite", "postgresql", "redis", "rediss", "valkey"]


@runtime_checkable
class Makeable(Protocol):
    """A store of a server, which can be told whether to make what is not there."""

    create: bool
    """Whether to make its tables."""


def no_place(_called: str) -> Store | None:
    """Of a host whose framework keeps no store of its own."""
    return None


@dataclass(frozen=True, slots=True)
class Host:
    """The app that a command runs in."""

    store: Store | None = None
    """The app's; None = there is no app."""
    place: Callable[[str], Store | None] = no_place
    """A store of its framework by its name, such as `django`; None = it is none of them. Raises StoreError for one that
    cannot be used."""


def _open(creates: Callable[[click.Context], bool]) -> Callable[[click.Context, click.Parameter, str | None], Store]:
    def opened(context: click.Context, _parameter: click.Parameter, url: str | None) -> Store:
        host: Host = context.obj or Host()
        hosts = host.store  # only a store that is named here is nearer
        if hosts is not None and not _is_named(context):
            if not hosts.url.startswith("sqlite:"):  # it cannot be opened anew: its URL shows no password
                if isinstance(hosts, Makeable):
                    hosts.create = creates(context)
                return hosts
            url = hosts.url  # opened anew: apply makes a file that is not there, and no other command does
        if not url:
            raise click.UsageError("Which store? Say --store sqlite:///flags.db, or set FLAGGATE_STORE.")
        return _opened(context, url, create=creates(context))

    return opened


def _opened(context: click.Context, url: str, *, create: bool) -> Store:
    if url == "memory://":
        raise click.UsageError(f"memory:// would end with this command; {_ALLOWED}.")
    try:
        store = open_store(url, create=create)
    except StoreError as error:  # nothing was opened yet: it is the URL
        if isinstance(error.__cause__, ImportError):
            raise click.UsageError(f"{error}.") from error
        shown = without_password(url)
        raise click.UsageError(f"{shown} names no store;{_meant(shown)} {_ALLOWED}.") from error
    context.call_on_close(store.close)
    return store


def opened_place(url: str, *, create: bool) -> Store:
    """The store at a URL, or the one that the app's framework knows by this name; closed once the command ends."""
    context = click.get_current_context()
    host: Host = context.obj or Host()
    try:
        own = host.place(url)
    except StoreError as error:
        raise click.UsageError(f"{error}.") from error
    if own is not None:
        context.call_on_close(own.close)
        return own
    if url.partition(":")[0] == "django":
        raise click.UsageError(f"{url} is in a Django project's database: manage.py flaggate knows it.")
    return _opened(context, url, create=create)


def _is_named(context: click.Context) -> bool:
    """Whether somebody typed --store; else it comes from the environment, or from nowhere."""
    return context.get_parameter_source("store") is ParameterSource.COMMANDLINE


def _brings_definitions(context: click.Context) -> bool:
    return context.params.get("definitions") is not None


def _open_without_file(context: click.Context, parameter: click.Parameter, url: str | None) -> Store | None:
    if not _brings_definitions(context):
        return _open(lambda _: False)(context, parameter, url)
    if _is_named(context):
        raise click.UsageError("--store and --definitions contradict each other; say where the flag is to be read.")
    return None


def _meant(url: str) -> str:
    scheme, is_there, rest = url.partition(":")
    if not is_there:
        return f" did you mean sqlite:///{url}?"
    near = None if scheme in _SCHEMES else closest(scheme, _SCHEMES)
    return f" did you mean {near}:{rest}?" if near else ""


def _store(
    callback: Callable[[click.Context, click.Parameter, str | None], Store | None],
) -> Callable[[_Command], _Command]:
    return click.option(
        "--store", metavar="URL", envvar="FLAGGATE_STORE", show_envvar=True, callback=callback, help="The store."
    )


def definitions_option(words: str) -> Callable[[_Command], _Command]:
    """--definitions, which is read before --store: it says whether that has to be there."""
    path = click.Path(dir_okay=False)
    return click.option("--definitions", metavar="FILE", type=path, is_eager=True, help=words)


store_option = _store(_open(lambda _: False))
"""The store, which has to be there: nobody kills a flag in a file that a typing error made."""

writing_store = _store(_open(lambda context: not context.params.get("dry_run")))
"""The store, made if it is not there, but not by a dry run."""

store_of_definitions = _store(_open(_brings_definitions))
"""The store, made if it is not there for who brings definitions into it."""

store_or_definitions = _store(_open_without_file)
"""The store; None where a file takes its place."""

directory_option = click.option(
    "--directory", metavar="DIR", envvar="FLAGGATE_DIRECTORY", show_envvar=True, type=click.Path(path_type=Path),
    help="Where the app keeps its copy of the flags and looks for the off file; where the store says, if it is not said.",
)  # fmt: skip


def directory_of(store: Store, given: Path | None) -> Path | None:
    """Where an app on this machine keeps things; None = nowhere."""
    if given is not None or store.directory is None:
        return given
    return Path(store.directory)


as_json = click.option("--json", "is_json", is_flag=True, help="Print JSON, for programs.")


def _notify(*, is_read: bool) -> Callable[[_Command], _Command]:
    def config(_context: click.Context, parameter: click.Parameter, given: str | None) -> Path | None:
        if given is None:
            return None
        from flaggate.runtime.notify import checked_config  # for those who tell

        try:
            return checked_config(given, is_read=is_read)
        except SettingError as error:
            raise click.BadParameter(f"{error.value}; allowed: {error.allowed}", param=parameter) from error

    return click.option(
        "--notify", metavar="FILE", envvar="FLAGGATE_NOTIFY", show_envvar=True, callback=config,
        help="Whom to tell what happens, and how: an Apprise configuration.",
    )  # fmt: skip


def _url(_context: click.Context, parameter: click.Parameter, given: str | None) -> str | None:
    if given is None:
        return None
    from flaggate.runtime.prometheus_url import checked_url  # for those who ask one

    try:
        return checked_url(given)
    except SettingError as error:
        raise click.BadParameter(f"{error.value}; allowed: {error.allowed}", param=parameter) from error


prometheus_option = click.option(
    "--prometheus", metavar="URL", envvar="FLAGGATE_PROMETHEUS", show_envvar=True, callback=_url,
    help="The server that guards with a query ask; FLAGGATE_PROMETHEUS_TOKEN is its bearer token.",
)  # fmt: skip


notify_option = _notify(is_read=True)
"""A file that is there."""

notify_option_of_cron = _notify(is_read=False)
"""Where it is not there nobody is told, and the rollouts are looked at all the same."""

definitions_file = click.argument("file", type=click.Path(dir_okay=False))


def program() -> str:
    """What was typed to get here: flaggate, or flask flaggate."""
    return click.get_current_context().find_root().info_name or "flaggate"


def _as_text(given: str) -> str:
    """Bytes of the command line that are no UTF-8 as U+FFFD: no store takes half characters."""
    try:
        return given.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    except UnicodeEncodeError:  # half a character that no byte stands for: from a caller, or from Windows
        return given.encode("utf-8", "replace").decode("utf-8")


def text(_context: click.Context, _parameter: click.Parameter, given: str | None) -> str | None:
    """The callback of a text that is looked up or kept."""
    return None if given is None else _as_text(given)


flag_argument = click.argument("flag", callback=text)


def names(_context: click.Context, parameter: click.Parameter, given: Any) -> Any:
    """The callback of a name of somebody, or of several: text that is not blank."""
    if isinstance(given, tuple):
        return tuple(_name(item, parameter) for item in given)
    return _name(given, parameter)


def _name(given: str, parameter: click.Parameter) -> str:
    name = _as_text(given).strip()
    if not name:
        raise click.BadParameter("it is blank; allowed: a name or an address that is not empty", param=parameter)
    if name == AUTOMATIC:
        words = f"{name!r} is who acts where the clock or a guard does; allowed: the name or the address of a person"
        raise click.BadParameter(words, param=parameter)
    return name


def _reason(_context: click.Context, _parameter: click.Parameter, given: str | None) -> str | None:
    return _as_text(given or "").strip() or None


def _login_name() -> str:
    try:
        user = getpass.getuser()
        return f"{user}@{socket.gethostname()}" if user == AUTOMATIC else user  # a service's: it may kill all the same
    except (OSError, KeyError, ImportError):  # a container's user without a name
        raise click.UsageError("Who are you? Say --as NAME, or set FLAGGATE_ACTOR.") from None


acting_name = click.option(
    "--as", "actor", metavar="WHO", envvar="FLAGGATE_ACTOR", show_envvar=True, default=_login_name, callback=names,
    help="Who does it; your login name if not said.",
)  # fmt: skip
"""--as."""


def acting(command: _Command) -> _Command:
    """--as and --reason."""
    why = click.option("--reason", metavar="WHY", callback=_reason, help="Why; it goes on record.")
    return acting_name(why(command))
