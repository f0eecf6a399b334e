"""What the cases share."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from flaggate.rollout.state import Event
from flaggate.runtime.gate import Gate
from flaggate.stores.base import Store, Write

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)


def put(store: Store, name: str, expected: int = 0, number: int = 0) -> int:
    """Write a row, with its event."""
    event = Event(name, "apply", "owner@example.com", NOW, after={"n": number})
    return store.commit([Write("flag", name, expected, {"n": number})], [event])


def elsewhere(question: Callable[[], Any], name: str = "another") -> Any:
    """The answer in a thread of its own, and so by another connection."""
    answers: list[Any] = []
    thread = threading.Thread(target=lambda: answers.append(question()), name=name)
    thread.start()
    thread.join()
    (answer,) = answers
    return answer


def rows(gate: Gate) -> dict[str, Any]:
    """What the gate serves, by name."""
    snapshot = gate.begun()
    return {row.name: row.document for row in snapshot.rows}
