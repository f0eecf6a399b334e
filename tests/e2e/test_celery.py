"""The recipe of docs/django.md for Celery: a worker of its own, whose processes were forked before any flag was asked."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from flaggate.cli.main import run
from flaggate.stores import open_store
from tests.e2e.servers import ended
from tests.e2e.test_docs import ROOT, blocks
from tests.runtime.scenes import until

(RECIPE,) = [block for block in blocks(ROOT / "docs" / "django.md", "python") if block.startswith("# shop/tasks.py")]
FLAGS = """
[flags.invoices-v2]
description = "Version 2 of the invoices"
owner = "owner@example.com"
audience = { user = "7" }
"""
SHOP = """
from celery import Celery, shared_task
from django.conf import settings

settings.configure(INSTALLED_APPS=["flaggate.contrib.django"], SECRET_KEY="k", FLAGGATE_STORE="sqlite:///flags.db")
import django
django.setup()

app = Celery("shop", broker="filesystem://", backend="file://results")
app.conf.broker_transport_options = {
    "data_folder_in": "queue", "data_folder_out": "queue", "control_folder": "control", "polling_interval": 0.05,
}
app.conf.broker_connection_retry_on_startup = True
app.set_default()
"""
MORE = """

@shared_task
def fails(user_id):
    with gate().visit(Context(str(user_id))):
        gate().is_on("invoices-v2")
        raise ValueError("no printer")
"""
CALLS = """
import sys, shop
print(getattr(shop, sys.argv[1]).delay(*sys.argv[2:]).get(timeout=30, interval=0.05, propagate=False))
"""


class Worker:
    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self._folder = folder
        self._environment = environment

    def does(self, task: str, *arguments: str) -> str:
        """What a task gives, asked by a process that is not the worker's."""
        done = subprocess.run(
            [sys.executable, "-c", CALLS, task, *arguments],
            cwd=self._folder,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def counted(self) -> dict[str, tuple[int, int]]:
        store = open_store(f"sqlite:///{self._folder}/flags.db")
        try:
            return {count.arm: (count.requests, count.errors) for count in store.counts("invoices-v2")}
        finally:
            store.close()


@pytest.fixture
def flaggate(tmp_path: Path) -> Callable[..., None]:
    (tmp_path / "flags.toml").write_text(FLAGS)

    def act(*arguments: str) -> None:
        assert run([*arguments, "--store", f"sqlite:///{tmp_path}/flags.db", "--as", "owner@example.com"]) == 0

    act("apply", str(tmp_path / "flags.toml"))
    return act


@pytest.fixture
def worker(tmp_path: Path, flaggate: Any) -> Iterator[Worker]:
    """Two processes that Celery forks."""
    pytest.importorskip("celery", reason="pip install celery")
    for folder in ("queue", "control", "results"):
        (tmp_path / folder).mkdir()
    recipe = RECIPE.replace("def send_invoice", "@shared_task\ndef send_invoice")
    (tmp_path / "shop.py").write_text(SHOP + recipe + MORE)
    known = {name: value for name, value in os.environ.items() if not name.startswith(("FLAGGATE_", "DJANGO_"))}
    environment = known | {"PYTHONUNBUFFERED": "1"}
    log = tmp_path / "log"
    command = [
        sys.executable,
        "-m",
        "celery",
        "-A",
        "shop",
        "worker",
        "--pool=prefork",
        "--concurrency=2",
        "-l",
        "INFO",
    ]
    with log.open("wb") as written:
        process = subprocess.Popen(
            command, cwd=tmp_path, env=environment, stdout=written, stderr=written, start_new_session=True
        )
    with ended(process):
        until(lambda: process.poll() is not None or " ready." in log.read_text(), "the worker is ready")
        assert process.poll() is None, log.read_text()
        yield Worker(tmp_path, environment)


def test_a_task_asks_for_whom_it_works(worker: Worker, flaggate: Any) -> None:
    """Its processes follow what happens to the flag, and count."""
    new, old = "the overhauled PDF", "the old PDF"
    assert worker.does("send_invoice", "7", "1") == old
    flaggate("on", "invoices-v2")
    until(lambda: worker.does("send_invoice", "7", "1") == new, "the worker follows")
    assert worker.does("send_invoice", "8", "1") == old
    assert worker.does("fails", "7") == "no printer"
    until(lambda: worker.counted().get("on", (0, 0))[1] == 1, "a failure is counted")
    assert "off" in worker.counted()
    flaggate("kill", "invoices-v2")
    until(lambda: worker.does("send_invoice", "7", "1") == old, "the worker stops")
