"""The shop on real servers: every request is counted, and nobody is where they only say that they are."""

from __future__ import annotations

import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from flaggate.rollout.state import Verb
from flaggate.stores import open_store
from tests.contrib.scenes import FLAGS
from tests.e2e.servers import LOCAL, STRANGER, Server, serving
from tests.runtime.scenes import bring, turn

SPOOFED = "203.0.113.7"  # whom the flag is for


@pytest.mark.parametrize(
    ("name", "streams"),
    [("gunicorn, Django", "stream"), ("uvicorn, Django", "astream")],
)
def test_on_a_real_server(tmp_path: Path, name: str, streams: str) -> None:
    store = open_store(f"sqlite:///{tmp_path}/flags.db")
    bring(store, FLAGS)
    for flag in ("banner", "local"):
        turn(store, Verb.ON, flag)
    with serving(name, store.url, tmp_path / "server", SHOP_TRUSTED_PROXIES=json.dumps([LOCAL])) as server:
        paths = [f"/{kind}/banner" for kind in ("ask", "aask", "fail", "file", streams)] * 12
        with ThreadPoolExecutor(4) as clients:
            replies = list(clients.map(server.ask, paths))
        assert Counter(reply.status for reply in replies) == {200: 48, 500: 12}
        bodies = {path.split("/")[1]: reply.body for path, reply in zip(paths, replies, strict=True)}
        assert bodies["ask"] == bodies["aask"] == b"True"
        assert bodies["file"] == b"%PDF"
        assert bodies[streams] == b"True True "
        asked = check_addresses(server)
        server.end()
    counts = {(count.flag, count.arm): count for count in store.counts()}
    assert (counts["banner", "on"].requests, counts["banner", "on"].errors) == (60, 12)
    assert sum(counts["banner", "on"].histogram.values()) == 36  # streams and files have no time
    found = {arm: counts["local", arm].requests for arm in ("on", "off")}
    assert found["on"] == asked["on"]
    assert found["off"] >= asked["off"]  # serving() looks whether it listens
    store.close()


def check_addresses(server: Server) -> Counter[str]:
    """What a trusted proxy writes counts, and what anybody else writes does not."""
    asked: Counter[str] = Counter()

    def ask(headers: dict[str, str], source: str) -> str:
        told = server.ask("/nobody/address", headers, source=source).json()
        asked["on" if told["on"] else "off"] += 1
        assert told["on"] is (told["address"] == SPOOFED)
        address: str = told["address"]
        return address

    assert ask({"X-Forwarded-For": SPOOFED}, LOCAL) == SPOOFED
    assert ask({"X-Forwarded-For": f"198.51.100.9, {SPOOFED}"}, LOCAL) == SPOOFED
    for header in ("X-Forwarded-For", "X_Forwarded_For", "Forwarded", "X-Real-IP"):
        assert ask({header: SPOOFED if header != "Forwarded" else f"for={SPOOFED}"}, STRANGER) == STRANGER
    assert ask({"X_Forwarded_For": SPOOFED}, LOCAL) == LOCAL
    return asked
