"""The command line. Exit codes: 0 done; 1 refused; 2 wrong input; 3 the store did not do it; 4 overtaken; 5 done, but
the output could not be written."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final

import click

from flaggate import __version__
from flaggate.cli import declare, moves
from flaggate.cli.console import console
from flaggate.cli.demo.command import demo
from flaggate.cli.doctor.command import doctor
from flaggate.cli.explain import explain
from flaggate.cli.history import history
from flaggate.cli.judge import judge
from flaggate.cli.move import move
from flaggate.cli.options import Host, no_place
from flaggate.cli.plan import plan
from flaggate.cli.render import OutputError, line, print_json
from flaggate.cli.run import run as run_command
from flaggate.cli.status import status
from flaggate.cli.tick import tick
from flaggate.errors import (
    CarryError,
    DocumentError,
    FlaggateError,
    MoveError,
    OvertakenError,
    RevisionError,
    StoreError,
    UnknownFlagError,
    UnreadableError,
    closest,
)
from flaggate.stores.base import Store

__all__ = ["cli", "main", "run", "write_anything"]

DONE: Final = 0
NOT_WRITTEN: Final = 5
_EXIT_CODES: Final[dict[type[FlaggateError], int]] = {
    CarryError: 1,
    MoveError: 1,
    RevisionError: 1,
    DocumentError: 2,
    UnknownFlagError: 2,
    StoreError: 3,
    OvertakenError: 4,
}

_AS_FAR_AS_IT_GOES: Final = suppress(OutputError, OSError)
"""Where not even what went wrong can be said, the exit code has to do."""

_WORDS_OF_OTHERS: Final = {
    "abort": "rollback", "cancel": "rollback", "revert": "rollback", "undo": "step-back", "back": "step-back",
    "promote": "advance", "next": "advance", "continue": "resume", "stop": "kill", "disable": "kill",
    "enable": "on", "list": "status", "show": "status", "ls": "status", "log": "history", "events": "history",
    "validate": "check", "lint": "check", "import": "apply", "load": "apply", "finish": "complete", "why": "explain",
    "retry": "restart", "begin": "start", "revive": "unkill", "accept": "owner accept", "handover": "owner set",
    "confirm": "approve", "sign-off": "approve", "ok": "approve", "allow": "approve",
    "simulate": "plan", "preview": "plan", "dry-run": "plan", "forecast": "plan", "who": "plan",
    "serve": "run", "daemon": "run", "worker": "run", "scheduler": "run", "cron": "tick", "once": "tick", "look": "tick",
    "health": "doctor", "diagnose": "doctor", "ping": "doctor", "info": "doctor",
    "export": "history", "audit": "history", "watch": "status", "migrate": "move", "transfer": "move", "copy": "move",
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
            ctx.fail(f"There is no command {word!r}.{hint} {ctx.command_path} --help lists them all.")
        return super().resolve_command(ctx, args)


@click.group(
    cls=_Commands,
    help="Controlled rollouts of features, from the terminal.",
    epilog="Exit codes: 0 done, also if there was nothing to change; 1 refused: not legal now, or a reason is missing; "
    "2 wrong input; 3 the store did not do it; 4 somebody else was faster, look and decide again; "
    "5 done, but the output could not be written.",
)
@click.version_option(__version__, package_name="flaggate")
def cli() -> None:
    """The group of all commands."""


for _command in (declare.check, declare.schema, declare.apply, plan, status, explain, history):
    cli.add_command(_command)
for _command in (*moves.moves, moves.owner, tick, run_command, console, judge, move, doctor, demo):
    cli.add_command(_command)


def run(
    args: Sequence[str],
    *,
    store: Store | None = None,
    program: str = "flaggate",
    place: Callable[[str], Store | None] = no_place,
) -> int:
    """Run one command and return its exit code; on this store, unless another one is named.

    Args:
        program: What was typed to get here.
        place: As `Host` has it.
    """
    is_json = "--json" in args
    try:
        result: Any = cli.main(args=list(args), prog_name=program, standalone_mode=False, obj=Host(store, place))
    except click.exceptions.Abort:
        with _AS_FAR_AS_IT_GOES:
            line("stopped", err=True)
        return 130
    except click.ClickException as error:
        with _AS_FAR_AS_IT_GOES:
            _say_usage(error, is_json)
        return error.exit_code
    except FlaggateError as error:
        with _AS_FAR_AS_IT_GOES:
            _say_error(error, is_json)
        return next((code for kind, code in _EXIT_CODES.items() if isinstance(error, kind)), 1)
    except (OutputError, OSError) as error:  # OSError: help, which click prints itself
        if not isinstance(error.__cause__, BrokenPipeError):  # `| head` has seen enough
            with _AS_FAR_AS_IT_GOES:
                done = "done, but " if isinstance(error, OutputError) else ""
                line(f"{done}the output could not be written: {error}", err=True)
        return NOT_WRITTEN
    return result if isinstance(result, int) else DONE


def _say_usage(error: click.ClickException, is_json: bool) -> None:
    said = _where_it_belongs(error) or error.format_message()
    if is_json:
        print_json({"error": said, "kind": "UsageError"})
        return
    if isinstance(error, getattr(click.exceptions, "NoArgsIsHelpError", ())):  # click 8.2: its message is the help
        for words in error.format_message().split("\n"):
            line(words, err=True)
        return
    context = getattr(error, "ctx", None)
    if context is not None:
        for words in context.get_usage().split("\n"):
            line(words, err=True)
        line(f"Try '{context.command_path} --help' for help.", err=True)
        line(err=True)
    line(f"Error: {said}", err=True)


def _where_it_belongs(error: click.ClickException) -> str:
    """What to say of an option of a command that was said before it: flaggate --store URL status."""
    if not isinstance(error, click.NoSuchOption) or error.ctx is None or not isinstance(error.ctx.command, click.Group):
        return ""
    commands, option = error.ctx.command.commands.items(), error.option_name
    taking = [word for word, command in commands if any(option in taken.opts for taken in command.params)]
    if not taking:
        return ""
    word = "status" if "status" in taking else taking[0]
    return f"{option} belongs to a command and follows it: {error.ctx.command_path} {word} {option} ..."


def _say_error(error: FlaggateError, is_json: bool) -> None:
    words = str(error)
    if isinstance(error, MoveError) and error.why.endswith("needs a reason"):
        words += " Say --reason WHY."
    notes = getattr(error, "__notes__", [])
    if not is_json:
        for one in (*_each(error, words), *notes):
            line(one, err=True)
        return
    written: dict[str, Any] = {"error": words, "kind": type(error).__name__}
    if isinstance(error, DocumentError):
        written["mistakes"] = [mistake._asdict() for mistake in error.mistakes]
    if notes:
        written["hint"] = " ".join(notes)
    print_json(written)


def _each(error: FlaggateError, words: str) -> Sequence[str]:
    """What the error has to say, a line each; a new line that somebody else wrote into one is none."""
    if isinstance(error, DocumentError):
        return [str(mistake) for mistake in error.mistakes]
    if isinstance(error, RevisionError | CarryError):
        return error.refusals
    return words.split("\n") if isinstance(error, UnreadableError) else [words]


def write_anything() -> None:
    """From now on no character is one that the terminal cannot show."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # None where there is none
            stream.reconfigure(errors="backslashreplace")


def main() -> None:
    """The console script."""
    write_anything()
    sys.exit(run(sys.argv[1:]))
