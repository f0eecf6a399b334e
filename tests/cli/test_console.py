"""console: what is refused at start, and what is printed."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path

import pytest

from tests.cli.conftest import OWNER, Terminal


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--host", "0.0.0.0"), "is no address of this machine alone"),
        (("--host", "flags.example.com"), "is no address of this machine alone"),
        (("--header", "X-Forwarded-User"), "--header and --proxy belong together"),
        (("--proxy", "10.0.0.5"), "--header and --proxy belong together"),
        (("--header", "X-Forwarded-User", "--proxy", "everybody"), "addresses or networks"),
        (("--hook-token", "short"), "too short to be one"),
        (("--hook-token", "long-enough-to-be-one", "--read-only"), "contradict each other"),
        (("--right", "fly"), "is not one of"),
    ],
)
def test_what_is_refused(applied: Terminal, words: tuple[str, ...], said: str) -> None:
    applied("console", *words, code=2)
    assert said in applied.err


def test_a_store_that_is_not_there(terminal: Terminal) -> None:
    terminal("console", code=3)
    assert "there is no such file" in terminal.err


@pytest.fixture
def console(applied: Terminal, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    words = ["--port", "0", "--root-path", "/ops", "--https"]
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "flaggate",
            "console",
            "--store",
            f"sqlite:///{tmp_path}/flags.db",
            "--as",
            OWNER,
            *words,
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    guard = threading.Timer(60, process.kill)
    guard.start()
    yield process
    guard.cancel()
    process.terminate()
    process.communicate()


def test_below_a_path_and_behind_tls(console: subprocess.Popen[str]) -> None:
    """The proxy takes the path off. A link that was used is followed by the next one."""
    assert console.stdout is not None
    found = re.match(r"http://127\.0\.0\.1:(\d+)(/sign-in\?token=\S+)", console.stdout.readline())
    assert found is not None
    connection = HTTPConnection("127.0.0.1", int(found[1]), timeout=30)
    connection.request("GET", found[2])
    answer = connection.getresponse()
    answer.read()
    cookie = answer.getheader("Set-Cookie") or ""
    assert (answer.status, answer.getheader("Location")) == (303, "/ops/")
    assert "Path=/ops;" in cookie
    assert "Secure" in cookie
    connection.request("GET", "/", headers={"Cookie": cookie.partition(";")[0]})
    page = connection.getresponse().read().decode()
    assert '<a href="/ops/flags/new-invoicing">' in page
    connection.close()
    second = console.stdout.readline().strip()
    assert second != found[0]
    assert urllib.request.urlopen(second.replace("/sign-in", "/static/console.css")).status == 200
