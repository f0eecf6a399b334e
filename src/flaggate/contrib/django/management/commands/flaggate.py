"""`manage.py flaggate ...`: every command of `flaggate`, on the project's store."""

from __future__ import annotations

import sys
from argparse import REMAINDER, ArgumentParser
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connections

from flaggate.cli.main import run, write_anything
from flaggate.contrib.django.project import gate, own_store
from flaggate.errors import SettingError

__all__ = ["Command"]

_WRONG_INPUT = 2


class Command(BaseCommand):
    help = "Controlled rollouts, on the project's store."

    def run_from_argv(self, argv: list[str]) -> None:
        """All arguments are flaggate's own, and so is the exit code."""
        write_anything()
        ours = ArgumentParser(add_help=False, allow_abbrev=False)
        for option in ("--settings", "--pythonpath"):
            ours.add_argument(option)  # Django has obeyed them by now
        sys.exit(self._run(ours.parse_known_args(argv[2:])[1], f"{Path(argv[0]).name} {argv[1]}"))

    def print_help(self, prog_name: str, subcommand: str) -> None:
        """`manage.py help flaggate`."""
        self._run(["--help"], f"{Path(prog_name).name} {subcommand}")

    def add_arguments(self, parser: CommandParser) -> None:
        """For call_command("flaggate", "kill", "new-invoicing")."""
        parser.add_argument("arguments", nargs=REMAINDER)

    def handle(self, *_: Any, **options: Any) -> None:
        """Raises CommandError with flaggate's exit code."""
        out, err = options.get("stdout") or sys.stdout, options.get("stderr") or sys.stderr
        with redirect_stdout(out), redirect_stderr(err):
            code = self._run(options["arguments"], "manage.py flaggate", is_last=False)
        if code:
            raise CommandError("flaggate did not do it", returncode=code)

    def _run(self, arguments: Sequence[str], program: str, *, is_last: bool = True) -> int:
        try:
            return run(arguments, store=gate().store, program=program, place=own_store)
        except SettingError as error:
            self.stderr.write(str(error))
            return _WRONG_INPUT
        finally:
            if is_last:
                connections.close_all()
