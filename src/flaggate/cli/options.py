"""What every command takes: which store, who acts and why, and for whom the answer is."""

from __future__ import annotations

import getpass
from collections.abc import Callable
from typing import Any, TypeVar

import click

from flaggate.stores import open_store
from flaggate.stores.base import Store

__all__ = ["acting", "as_json", "definitions_file", "store_option", "writing_store"]

_Command = TypeVar("_Command", bound=Callable[..., Any])


def _open(create: bool) -> Callable[[click.Context, click.Parameter, str | None], Store]:
    def opened(_context: click.Context, _parameter: click.Parameter, url: str | None) -> Store:
        if not url:
            raise click.UsageError("Which store? Say --store sqlite:///flags.db, or set FLAGGATE_STORE.")
        return open_store(url, create=create)

    return opened


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


def _login_name() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # a container's user without a name
        raise click.UsageError("Who are you? Say --as NAME, or set FLAGGATE_ACTOR.") from None


def acting(command: _Command) -> _Command:
    """--as and --reason."""
    who = click.option(
        "--as", "actor", metavar="WHO", envvar="FLAGGATE_ACTOR", show_envvar=True, default=_login_name,
        help="Who does it; your login name if not said.",
    )  # fmt: skip
    why = click.option("--reason", metavar="WHY", help="Why; it goes on record.")
    return who(why(command))
