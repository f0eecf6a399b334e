"""What the tests of notices share: real services that hear messages, and a process that tells them.

Scripts import it too, so nothing here may load pytest.
"""

from __future__ import annotations

import asyncio
import email
import email.policy
import json
import threading
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple, cast

from flaggate.flags.document import parse
from flaggate.flags.model import guards_judged_in
from flaggate.rollout.state import Verb, current_stage
from flaggate.rollout.verdict import Answer, Judgement, Verdict
from flaggate.runtime.control import Control, Outcome
from flaggate.runtime.kept_notices import Kept, kept_from_json
from flaggate.runtime.notices import Notifier
from flaggate.runtime.ticker import NOTICES, Looked, Ticker
from flaggate.stores.base import Store
from flaggate.stores.record import Record
from tests.runtime.scenes import NOW, OWNER, until

DEPUTY = "deputy@example.com"
PLAN = """
[flags.invoicing]
description = "The overhauled invoicing system"
owner = "owner@example.com"
deputies = ["deputy@example.com"]
stages = [
    { name = "staff", audience = { staff = true }, soak = "10s" },
    { name = "tenth", share = 10, soak = "10s", approval = "other" },
    { name = "everyone" },
]
guards = [
    { metric = "errors", limit = "1%" },
    { metric = "slow", slower_than = "400ms", limit = "5%", on_breach = "hold" },
    { metric = "slow", slower_than = "1s", limit = "5%", on_breach = "warn", on_no_data = "ignore" },
]

[flags.banner]
description = "A switch"
owner = "owner@example.com"
"""


class Heard(NamedTuple):
    """A message that reached a service."""

    path: str
    title: str
    body: str
    type: str


class Target(ThreadingHTTPServer):
    """A service that Apprise calls `json://`: it hears messages, refuses them, or keeps whoever sends waiting."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.heard: list[Heard] = []
        self.status = 200
        self.refused: str | None = None
        """A path for which it has the answer 500, whatever the status."""
        self.asked = 0
        """How many messages came, taken or not."""
        self.is_open = threading.Event()
        """While it is not set, nobody is answered."""
        self.is_open.set()
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def place(self) -> str:
        """How it is called where it fails."""
        return f"json://127.0.0.1:{self.server_port}"

    def url(self, path: str = "", query: str = "") -> str:
        """Of it, in an Apprise configuration."""
        return f"{self.place}/{path}?rto=60&{query}"  # the limit that is tested is ours

    @property
    def titles(self) -> list[str]:
        """Of what it has heard."""
        return [heard.title for heard in self.heard]

    def answers_once_asked(self) -> None:
        """Keep the first one waiting until it has come."""
        until(lambda: self.asked, "somebody asks")
        self.is_open.set()

    def stop(self) -> None:
        """Answer whoever waits, and nobody else."""
        self.is_open.set()
        self.shutdown()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        target = cast("Target", self.server)
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        target.asked += 1
        target.is_open.wait(60)
        status = 500 if self.path == target.refused else target.status
        if status == 200:
            target.heard.append(Heard(self.path, body["title"], body["message"], body["type"]))
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the test looks itself."""


class Mailbox:
    """A real mail server."""

    def __init__(self) -> None:
        from aiosmtpd.smtp import SMTP

        self.mails: list[tuple[list[str], EmailMessage]] = []
        self._loop = asyncio.new_event_loop()
        self._made: list[Any] = []

        def made() -> Any:
            self._made.append(SMTP(self, loop=self._loop))
            return self._made[-1]

        making = self._loop.create_server(made, "127.0.0.1", 0)
        self._server = self._loop.run_until_complete(making)
        self.port = self._server.sockets[0].getsockname()[1]
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802  # as aiosmtpd calls it
        mail = email.message_from_bytes(envelope.content, policy=email.policy.default)
        self.mails.append((envelope.rcpt_tos, mail))
        return "250 OK"

    def stop(self) -> None:
        """Let go of the port."""
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _end(self) -> None:
        self._server.close()
        for smtp in self._made:
            if smtp.transport is not None:
                smtp.transport.abort()
        await asyncio.sleep(0)  # so that they are told


def configure(path: Path, services: Mapping[str, str | Iterable[str]]) -> Path:
    """Write an Apprise configuration: the tags of each URL."""
    lines = ["urls:"]
    for url, tags in services.items():
        lines += [f"  - {url}:", f"      tag: {tags if isinstance(tags, str) else ', '.join(tags)}"]
    path.write_text("\n".join(lines) + "\n")
    return path


class Teller:
    """A process that looks at the rollouts and tells people, with a clock and verdicts that are made up.

    Its lease, by the real clock, lasts longer than a busy machine lets a test wait.
    """

    def __init__(
        self,
        store: Store,
        config: Path,
        *,
        now: datetime = NOW,
        limit_seconds: float = 30.0,
        every_seconds: float = 100.0,
    ) -> None:
        self.store = store
        self.now = now
        self.said: list[str] = []
        self.answers: dict[int, Answer] = {}
        """What guards say, by their number; the others say OK."""
        self.requests = 100
        self.is_late = False
        """Whether the guards speak of the attempt before."""
        self.notifier = Notifier(config, self.said.append, limit_seconds=limit_seconds)
        self.ticker = Ticker(
            store, judge=self._judge, notices=self.notifier, every_seconds=every_seconds, now=lambda: self.now
        )

    def _judge(self, record: Record, _kept: Mapping[str, Any] | None, _now: datetime) -> Judgement | None:
        flag, rollout = record.flag, record.rollout
        stage = current_stage(flag, rollout)
        if stage is None:
            return None
        verdicts = tuple(
            Verdict(guard, self.answers.get(number, Answer.OK), {"requests": 1200, "share": 0.03125})
            for number, guard in enumerate(guards_judged_in(flag, stage))
        )
        return Judgement(rollout.attempt - self.is_late, rollout.stage, rollout.revision, verdicts, self.requests)

    def act(
        self,
        verb: Verb,
        name: str = "invoicing",
        *,
        actor: str = OWNER,
        reason: str | None = "for the test",
        **more: Any,
    ) -> Outcome:
        """Do one thing, at this process's time."""
        return Control(self.store, now=lambda: self.now).act(verb, name, actor=actor, reason=reason, **more)

    def apply(self, text: str = PLAN, *, actor: str = OWNER) -> None:
        Control(self.store, now=lambda: self.now).apply(parse(text), actor=actor)

    def look(self, seconds: float = 5.0) -> list[Looked] | None:
        """Some time passes, and it looks once. What it sends it has sent, or is sending still, when this returns."""
        self.now += timedelta(seconds=seconds)
        return self.ticker.tick(self.store.changes().rows)

    def tell(self, seconds: float = 5.0) -> None:
        """Some time passes, it looks once, and what came of the messages is kept."""
        assert self.look(seconds) is not None
        self.ticker.tell(30.0)

    @property
    def kept(self) -> Kept:
        """What is kept of notices."""
        kept = kept_from_json(self.store.progress().get(NOTICES))
        assert kept is not None
        return kept
