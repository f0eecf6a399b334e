"""What every command takes: which store, who acts and why, and for whom the answer is."""

from __future__ import annotations

import getpass
from collections.abc import Callable
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from flaggate.errors import StoreError, closest
from flaggate.stores import open_store
from flaggate.stores.base import Store, without_password

__all__ = [
    "acting",
    "as_json",
    "definitions_file",
    "flag_argument",
    "names",
    "program",
    "store_option",
    "text",
    "writing_store",
]

_Command = TypeVar("_Command", bound=Callable[..., Any])
_ALLOWED = "allowed: sqlite:///PATH, with four slashes for an absolute one"


def _open(create: bool) -> Callable[[click.Context, click.Parameter, str | None], Store]:
    def opened(context: click.Context, _parameter: click.Parameter, url: str | None) -> Store:
        hosts: Store | None = context.obj  # of the app that this runs in; only a store that is named here is nearer
        if hosts is not None and context.get_parameter_source("store") is not ParameterSource.COMMANDLINE:
            if not hosts.url.startswith("sqlite:"):
                return hosts
            url = hosts.url  # opened anew: apply makes a file that is not there, and no other command does
        if not url:
            raise click.UsageError("Which store? Say --store sqlite:///flags.db, or set FLAGGATE_STORE.")
        if url == "memory://":
            raise click.UsageError(f"memory:// would end with this command; {_ALLOWED}.")
        try:
            store = open_store(url, create=create)
        except StoreError as error:  # nothing was opened yet: it is the URL
            shown = without_password(url)
            raise click.UsageError(f"{shown} names no store;{_meant(shown)} {_ALLOWED}.") from error
        context.call_on_close(store.close)
        return store

    return opened


def _meant(url: str) -> str:
    scheme, is_there, rest = url.partition(":")
    if not is_there:
        return f" did you mean sqlite:///{url}?"
    return f" did you mean sqlite:{rest}?" if scheme != "sqlite" and closest(scheme, ["sqlite"]) else ""


def _store(create: bool) -> Callable[[_Command], _Command]:
    return click.option(
        "--store", metavar="URL", envvar="FLAGGATE_STORE", show_envvar=True, callback=_open(create), help="The store."
    )


store_option = _store(create=False)
"""The store, which has to be there: nobody kills a flag in a file that a typing error made."""

writing_store = _store(create=True)
"""The store, made if it is not there."""

as_json = click.option("--json", "is_json", is_flag=True, help="Print JSON, for programs.")

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
    return name


def _reason(_context: click.Context, _parameter: click.Parameter, given: str | None) -> str | None:
    return _as_text(given or "").strip() or None


def _login_name() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # a container's user without a name
        raise click.UsageError("Who are you? Say --as NAME, or set FLAGGATE_ACTOR.") from None


def acting(command: _Command) -> _Command:
    """--as and --reason."""
    who = click.option(
        "--as", "actor", metavar="WHO", envvar="FLAGGATE_ACTOR", show_envvar=True, default=_login_name, callback=names,
        help="Who does it; your login name if not said.",
    )  # fmt: skip
    why = click.option("--reason", metavar="WHY", callback=_reason, help="Why; it goes on record.")
    return who(why(command))
