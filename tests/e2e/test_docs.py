"""What README and docs show works as it stands there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from flaggate.flags.document import parse
from tests.e2e.browser import Browser
from tests.runtime.scenes import until

ROOT = Path(__file__).parents[2]
DOCS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FILES = {"console.md", "django.md", "flask.md", "starlette.md", "testing.md"}
"""Pages whose blocks of Python make files, with a test of its own."""


def blocks(path: Path, language: str) -> list[str]:
    """The fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", path.read_text(), re.MULTILINE | re.DOTALL)


def shell(command: str, folder: Path) -> str:
    """Run one line as a reader would, with the flaggate of this environment."""
    scripts = Path(sys.executable).parent
    path = f"{scripts}{os.pathsep}{os.environ['PATH']}"
    env = os.environ | {"FLAGGATE_STORE": "sqlite:///flags.db", "PATH": path, "COLUMNS": "200"}
    env["PYTEST_ADDOPTS"] = "-p no:hypothesispytest"  # a reader need not have it, and pytest would import all of it
    done = subprocess.run(
        command, shell=True, cwd=folder, env=env, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, (command, done.stdout, done.stderr)
    assert "Traceback" not in done.stderr, done.stderr
    return done.stdout


def timeless(text: str) -> str:
    """Without what is another one each time."""
    text = re.sub(r"process(es)? in \d+\.\d s", r"process\1 in 0.1 s", text)
    return re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \S+ *", "NOW ", re.sub("(?m)^when +", "when ", text))


def hold_against(shown: list[str], output: str) -> None:
    """What a page shows of an output is there, in this order; "..." stands for what it leaves out."""
    lines = iter([*timeless(output).splitlines(), None])
    may_skip = False
    for line in shown:
        if line == "...":
            may_skip = True
            continue
        found = next(lines)
        while may_skip and found not in (line, None):
            found = next(lines)
        assert found == line, output
        may_skip = False
    assert may_skip or next(lines) is None, output


@contextmanager
def flask_run(folder: Path) -> Iterator[str]:
    """`flask run` in the folder, on a free port. Gives its URL."""
    command = [sys.executable, "-m", "flask", "run", "--port", "0"]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            assert process.stdout is not None
            yield next(found.group() for line in process.stdout if (found := re.search(r"http://127[.\d]+:\d+", line)))
        finally:
            process.kill()


def followed(url: str, path: str) -> str:
    """What somebody sees who opens this with a browser that was never there before."""
    with Browser(url) as browser:
        page = browser.get(path)
        while page.location is not None:
            page = browser.get(page.location)
        return page.body


def test_the_readme_from_top_to_bottom(tmp_path: Path) -> None:
    readme = (ROOT / "README.md").read_text()
    told = re.findall(r"^\| <http://127.0.0.1:5000(\S+)> \| (.*?) \|", readme, re.MULTILINE)
    assert {page for _, page in told} == {"the old page", "the overhauled page"}
    with ExitStack() as stack:
        url = ""
        for language, text in re.findall(r"^```(\w+)\n(.*?)^```", readme, re.MULTILINE | re.DOTALL):
            if language == "toml":
                (tmp_path / "flags.toml").write_text(text)
            elif language == "python":
                (tmp_path / ("app.py" if "flask" in text else "ask.py")).write_text(text)
            elif text == "$ flask run\n":
                url = stack.enter_context(flask_run(tmp_path))
                assert [(path, followed(url, path)) for path, _ in told] == told
                assert followed(url, "/") == '<a href="/invoices">Invoices</a>'
            elif language == "console":
                for command, *shown in (part.splitlines() for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]):
                    hold_against(timeless("\n".join(shown)).splitlines(), shell(command, tmp_path))
        until(lambda: {followed(url, path) for path, _ in told} == {"the old page"}, "the app sees the kill")


SERVED = """
from app import app

client = app.test_client()
print(client.get("/invoices/7").text)
gone = client.get("/invoices/export"), client.get("/v2/invoices")
print(client.get("/invoices").location, *(response.status_code for response in gone))
print(client.post("/sign-in/grace").json)
print(client.get("/invoices/7").text)
print(client.post("/invoices").text, client.get("/invoices/export").text, client.get("/v2/invoices").json)
print(client.get("/").json)
"""

ANSWERED = """\
the old page of invoice 7
/invoices/1 404 404
{'new': True}
the overhauled page of invoice 7
made an overhauled export {'invoices': [1, 2]}
{'nav': '<a href="/invoices">Invoices</a>', 'new': True, 'why': 'on'}
"""


def test_the_flask_page_from_top_to_bottom(tmp_path: Path) -> None:
    """Its blocks of Python are one file."""
    page = ROOT / "docs" / "flask.md"
    (tmp_path / "app.py").write_text("\n\n".join(blocks(page, "python")))
    (tmp_path / "flags.toml").write_text("\n".join(blocks(page, "toml")))
    (tmp_path / "served.py").write_text(SERVED)
    apply, turn_on, status, kill = (text[2:] for block in blocks(page, "console") for text in block.splitlines())

    shell(apply, tmp_path)
    shell(turn_on, tmp_path)
    assert shell("python served.py", tmp_path) == ANSWERED
    assert "1 passed" in shell("python -m pytest -q app.py", tmp_path)
    assert "invoices-v2" in shell(status, tmp_path)
    shell(kill, tmp_path)
    assert "the overhauled page" not in shell("python served.py", tmp_path)


def test_the_page_on_tests_from_top_to_bottom(tmp_path: Path) -> None:
    """Its blocks of Python are one file of tests; the first is enough."""
    page = ROOT / "docs" / "testing.md"
    first, *others = blocks(page, "python")
    (tmp_path / "test_invoices.py").write_text(first)
    assert len(first.splitlines()) <= 10
    assert "1 passed" in shell("python -m pytest -q test_invoices.py", tmp_path)
    assert not (tmp_path / "flags.db").exists()

    (tmp_path / "test_invoices.py").write_text("\n\n".join([first, *others]))
    (tmp_path / "flags.toml").write_text("\n".join(blocks(page, "toml")))
    tests = sum(text.count("def test_") for text in blocks(page, "python"))
    assert f"{tests + 1} passed" in shell("python -m pytest -q test_invoices.py", tmp_path), "one runs twice"


@contextmanager
def uvicorn_run(command: str, folder: Path) -> Iterator[str]:
    """The command in the folder, on a free port. Gives its URL."""
    words = [sys.executable, "-m", *command.split(), "--port", "0"]
    with subprocess.Popen(words, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            assert process.stdout is not None
            yield next(found.group() for line in process.stdout if (found := re.search(r"http://127[.\d]+:\d+", line)))
        finally:
            process.kill()


STARLETTE_SERVED = """
from starlette.testclient import TestClient
from app import app

client = TestClient(app, follow_redirects=False)
gone = client.get("/export"), client.get("/v2/invoice")
print(client.get("/invoice").text, client.get("/invoices").headers["location"], *(page.status_code for page in gone))
print(client.get("/").text, repr(client.get("/nav").text), client.post("/sign-in/ada").text)
print(client.get("/invoice").text, client.get("/invoices").text, client.post("/invoices").text)
print(client.get("/export").text, client.get("/v2/invoice").text, client.get("/nav").text)
print(client.get("/").text)
with client.websocket_connect("/v2/hello") as websocket:
    print(websocket.receive_text())
"""

STARLETTE_ANSWERED = """\
the old page /invoice 404 404
False, because: no_match '' True
the overhauled page all invoices made
an overhauled export the overhauled page <a href="/invoices">Invoices</a>
True, because: on
hello
"""

FASTAPI_SERVED = """
from fastapi.testclient import TestClient
from api import app

client = TestClient(app)
for _ in range(2):
    print(client.get("/invoice").json(), client.get("/v2/invoices/7").json(), client.get("/invoices/7/summary").json())
    print(client.post("/sign-in/ada").json())
"""

FASTAPI_ANSWERED = """\
the old page {'detail': 'Not Found'} the old summary of 7
True
the overhauled page {'number': 7} the overhauled summary of 7
True
"""


def test_the_starlette_page_from_top_to_bottom(tmp_path: Path) -> None:
    """Its blocks of Python are two files, one for each framework; of either the first block is an app."""
    page = ROOT / "docs" / "starlette.md"
    every = blocks(page, "python")
    at = next(number for number, block in enumerate(every) if "FastAPI()" in block)
    apply, turn_on, serve = (text[2:] for block in blocks(page, "console") for text in block.splitlines())
    (tmp_path / "flags.toml").write_text("\n".join(blocks(page, "toml")))
    (tmp_path / "served_app.py").write_text(STARLETTE_SERVED)
    (tmp_path / "served_api.py").write_text(FASTAPI_SERVED)
    shell(apply, tmp_path)
    shell(turn_on, tmp_path)

    for name, first, *others in (("app", *every[:at]), ("api", *every[at:])):
        (tmp_path / f"{name}.py").write_text(first)
        with uvicorn_run(serve.replace("app:", f"{name}:"), tmp_path) as url:
            assert followed(url, "/invoice").strip('"') == "the old page"
        (tmp_path / f"{name}.py").write_text("\n\n".join([first, *others]))
        answered = STARLETTE_ANSWERED if name == "app" else FASTAPI_ANSWERED
        assert shell(f"python served_{name}.py", tmp_path) == answered
        assert "1 passed" in shell(f"python -m pytest -q {name}.py", tmp_path)


DJANGO_SERVED = """
import asyncio
from base64 import b64encode
import django
django.setup()
from django.contrib.auth.models import User
from django.test import AsyncClient, Client
from django.test.utils import setup_test_environment

setup_test_environment()
ada, _ = User.objects.get_or_create(username="ada", is_staff=True)
ada.set_password("secret")
ada.save()
token = b64encode(b"ada:secret").decode()
paths = ("/invoices/7/", "/export/", "/invoices/", "/v2/letters/", "/why/")
for user in (None, ada):
    client, loop = Client(), AsyncClient()
    if user is not None:
        client.force_login(user)
        loop.force_login(user)
    pages = [client.get(path) for path in paths]
    print(*(page.content.decode() if page.status_code == 200 else page.status_code for page in pages), sep=", ")
    print(*client.get("/").content.decode().split("\\n"), sep="")
    print(asyncio.run(loop.get("/why-async/")).json())
print(*(Client().get("/api/invoices/", headers=each).status_code for each in ({}, {"Authorization": f"Basic {token}"})))
"""

DJANGO_ANSWERED = """\
404, an old export, 302, 404, {"new": false, "why": "no_match", "helper": false}
no invoices, an old box
{'new': False, 'why': 'no_match'}
the overhauled page of invoice 7, an overhauled export, all invoices, all letters, \
{"new": true, "why": "on", "helper": true}
<a href="/invoices/">Invoices</a>newby the context processor, a new box that is kept
{'new': True, 'why': 'on'}
404 200
"""


def put_into_project(found: list[str], folder: Path) -> None:
    """Each at the end of the file that its first line names."""
    for block in found:
        name, _, text = block.partition("\n")
        path = folder / re.sub(r"^(# |\{# )|( #\})$", "", name)
        path.parent.mkdir(exist_ok=True)
        path.write_text((path.read_text() if path.exists() else "") + text)


def test_the_django_page_from_top_to_bottom(tmp_path: Path) -> None:
    """Its blocks are a project; the first two are enough for one."""
    page = ROOT / "docs" / "django.md"
    python = blocks(page, "python")
    (tmp_path / "flags.toml").write_text("\n".join(blocks(page, "toml")))
    (tmp_path / "served.py").write_text(DJANGO_SERVED)
    shell("django-admin startproject shop .", tmp_path)
    put_into_project(python[:2], tmp_path)
    migrate, apply, turn_on, _ = (text[2:] for block in blocks(page, "console") for text in block.splitlines())
    for command in ("python manage.py check", migrate, apply, turn_on):
        shell(command, tmp_path)
    assert "404" in shell("python manage.py shell -v 0 -c '" + FIRST + "'", tmp_path)

    put_into_project([*python[2:], *blocks(page, "html")], tmp_path)
    assert shell("DJANGO_SETTINGS_MODULE=shop.settings python served.py", tmp_path) == DJANGO_ANSWERED
    assert "Ran 2 tests" in shell("python manage.py test 2>&1", tmp_path)
    shell("DJANGO_SETTINGS_MODULE=shop.settings python -c 'import shop.asgi'", tmp_path)


@contextmanager
def console_run(command: str, folder: Path, **environment: str) -> Iterator[str]:
    """`flaggate console` in the folder, on a free port. Gives what it prints."""
    words = [sys.executable, "-m", *command.split(), "--port", "0"]
    env = os.environ | {"FLAGGATE_STORE": "sqlite:///flags.db"} | environment
    with subprocess.Popen(words, cwd=folder, env=env, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip()
        finally:
            process.kill()


MOUNTED = """
from starlette.testclient import TestClient
from asgi import app as asgi_app
from flask_app import app as flask_app

client = TestClient(asgi_app)
ada = {"x-made-up-user": "ada"}
print(client.get("/ops/flags").status_code, "new-invoicing" in client.get("/ops/flags", headers=ada).text)
client = flask_app.test_client()
print(client.get("/ops/flags/").status_code, end=" ")
with client.session_transaction() as session:
    session["user"] = "ada"
print("new-invoicing" in client.get("/ops/flags/").text)
"""


def test_the_console_page_from_top_to_bottom(tmp_path: Path) -> None:
    """Its commands, each with what the page says of it, and its two apps."""
    page = ROOT / "docs" / "console.md"
    (alone, shown), (proxied,), (alert,) = (block.splitlines()[-2:] for block in blocks(page, "console"))
    plan = (ROOT / "src" / "flaggate" / "cli" / "demo" / "plan.toml").read_text()
    (tmp_path / "flags.toml").write_text(plan)
    for command in ("apply flags.toml", "start new-invoicing --as release-owner@example.com"):
        shell(f"flaggate {command}", tmp_path)

    token = "a token that only the alert knows"
    with console_run(alone[2:], tmp_path, FLAGGATE_HOOK_TOKEN=token) as said:
        url, path = re.fullmatch(r"(http://127.0.0.1:\d+)(/.*)", said).groups()  # type: ignore[union-attr]  # None fails
        assert re.sub(r"\d+/|(?<==).*", "", said) == re.sub(r"\d+/|(?<==).*", "", shown)
        assert "new-invoicing" in followed(url, path)
        assert "used already" in followed(url, path), "once"
        answer = shell(
            f"export FLAGGATE_HOOK_TOKEN='{token}'; {alert[2:].replace('http://127.0.0.1:8766', url)}", tmp_path
        )
        assert answer == '{"flag":"new-invoicing","status":"rolled_back","changed":true}'
    here = proxied[2:].replace("0.0.0.0", "127.0.0.1").replace("10.0.0.5", "127.0.0.1")
    with console_run(here, tmp_path) as said, Browser(said) as browser:
        assert browser.get("/").status == 401
        assert "too slow" in browser.get("/flags/new-invoicing", **{"X-Forwarded-User": "ada"}).body

    for name, block in zip(("asgi", "flask_app"), blocks(page, "python"), strict=True):
        (tmp_path / f"{name}.py").write_text(block)
    (tmp_path / "mounted.py").write_text(MOUNTED)
    assert shell("python mounted.py", tmp_path) == "401 True\n401 True\n"


FIRST = 'from django.test import Client; print(Client(headers={"host": "localhost"}).get("/invoices/7/").status_code)'


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.name)
def test_toml_in_the_docs_is_valid(path: Path) -> None:
    for text in blocks(path, "toml"):
        parse(text, source=path.name)


@pytest.mark.parametrize("path", [path for path in DOCS if path.name not in FILES], ids=lambda path: path.name)
def test_python_in_the_docs_runs(path: Path, tmp_path: Path) -> None:
    for text in blocks(path, "python"):
        (tmp_path / "example.py").write_text(text)
        shell("python example.py", tmp_path)


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.name)
def test_every_link_leads_to_a_file(path: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", path.read_text())
    relative = [link for link in links if not re.match(r"[a-z]+:", link)]
    assert [link for link in relative if not (path.parent / link).is_file()] == []


def test_every_command_is_documented() -> None:
    from flaggate.cli.main import cli

    table = (ROOT / "docs" / "cli.md").read_text()
    words = [*cli.commands, *(f"owner {name}" for name in cli.commands["owner"].commands)]  # type: ignore[attr-defined]  # a group
    missing = [word for word in words if word != "owner" and f"`{word} " not in table and f"`{word}`" not in table]
    assert missing == []
