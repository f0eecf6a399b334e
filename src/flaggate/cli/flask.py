"""`flask flaggate ...`: every command of flaggate, on the store of the app. Flask finds it by its entry point."""

from __future__ import annotations

import sys

import click
from flask import current_app
from flask.cli import with_appcontext

__all__ = ["command"]


@click.command(
    "flaggate",
    help="Controlled rollouts, on this app's store.",
    add_help_option=False,  # ours says more
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
)
@click.argument("args", nargs=-1, type=click.UNPROCESSED)
@with_appcontext
def command(args: tuple[str, ...]) -> None:
    """Pass the words on."""
    from flaggate.cli.main import run, write_anything  # `flask --help` need not wait for it
    from flaggate.contrib.flask import gate_of
    from flaggate.errors import SettingError

    try:
        store = gate_of(current_app).store
    except SettingError as error:
        raise click.UsageError(str(error)) from error
    write_anything()
    sys.exit(run(args, store=store, program="flask flaggate"))
