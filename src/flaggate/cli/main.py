"""The command line. Exit codes: 0 done; 1 refused; 2 wrong input; 3 the store did not do it; 4 overtaken."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, Final

import click

from flaggate import __version__
from flaggate.cli import declare, look, moves
from flaggate.cli.demo.command import demo
from flaggate.cli.render import print_json
from flaggate.errors import (
    DocumentError,
    FlaggateError,
    MoveError,
    OvertakenError,
    RevisionError,
    StoreError,
    UnknownFlagError,
    closest,
)

__all__ = ["cli", "main"]

DONE: Final = 0
_EXIT_CODES: Final[dict[type[FlaggateError], int]] = {
    MoveError: 1,
    RevisionError: 1,
    DocumentError: 2,
    UnknownFlagError: 2,
    StoreError: 3,
    OvertakenError: 4,
}

_WORDS_OF_OTHERS: Final = {
    "abort": "rollback", "cancel": "rollback", "revert": "rollback", "undo": "step-back", "back": "step-back",
    "promote": "advance", "next": "advance", "continue": "resume", "stop": "kill", "disable": "kill",
    "enable": "on", "list": "status", "show": "status", "ls": "status", "log": "history", "events": "history",
    "validate": "check", "lint": "check", "import": "apply", "load": "apply", "finish": "complete", "why": "explain",
    "retry": "restart", "begin": "start", "revive": "unkill",
}  # fmt: skip


class _Commands(click.Group):
    """Lists its commands in the order of a flag's life, and answers a wrong word with the right one."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click's signature
        return list(self.commands)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        word = args[0]
        if self.get_command(ctx, word) is None and not word.startswith("-"):
            longer = next((command for command in self.commands if command.startswith(word)), None)
            meant = _WORDS_OF_OTHERS.get(word) or longer or closest(word, self.commands)
            hint = f" Did you mean {meant!r}?" if meant else ""
            ctx.fail(f"There is no command {word!r}.{hint} flaggate --help lists them all.")
        return super().resolve_command(ctx, args)


@click.group(
    cls=_Commands,
    help="Controlled rollouts of features, from the terminal.",
    epilog="Exit codes: 0 done, also if there was nothing to change; 1 refused: not legal now, or a reason is missing; "
    "2 wrong input; 3 the store did not do it; 4 somebody else was faster, look and decide again.",
)
@click.version_option(__version__, package_name="flaggate")
def cli() -> None:
    """The group of all commands."""


for _command in (declare.check, declare.schema, declare.apply, look.status, look.explain, look.history):
    cli.add_command(_command)
for _command in (*moves.moves, moves.owner, demo):
    cli.add_command(_command)


def run(args: Sequence[str]) -> int:
    """Run one command and return its exit code."""
    try:
        result: Any = cli.main(args=list(args), prog_name="flaggate", standalone_mode=False)
    except click.exceptions.Abort:
        click.echo("stopped", err=True)
        return 130
    except click.ClickException as error:
        if "--json" in args:
            print_json({"error": error.format_message(), "kind": "UsageError"})
        else:
            error.show()
        return error.exit_code
    except FlaggateError as error:
        if "--json" in args:
            print_json({"error": str(error), "kind": type(error).__name__})
        else:
            is_reason_missing = isinstance(error, MoveError) and error.why.endswith("needs a reason")
            click.echo(f"{error} Say --reason WHY." if is_reason_missing else str(error), err=True)
        return next((code for kind, code in _EXIT_CODES.items() if isinstance(error, kind)), 1)
    return result if isinstance(result, int) else DONE


def main() -> None:
    """The console script."""
    sys.exit(run(sys.argv[1:]))
