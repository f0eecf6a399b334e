"""A TCP proxy on the way to a store: it passes, waits before it passes, cuts, or swallows."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, Literal, TypeAlias

__all__ = ["Mode", "Proxy"]

Mode: TypeAlias = Literal["pass", "cut", "swallow"]
"""`cut`: connections are reset, and new ones at once; `swallow`: nothing is answered, nothing is closed, as behind a
firewall that drops what it gets."""


class Proxy:
    """Forwards a port of its own to another one of the loopback. Runs in a thread of its own."""

    def __init__(self, target: int) -> None:
        self._target = target
        self.port = 0
        self._mode: Mode = "pass"
        self._delay = 0.0
        self._writers: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._passes: asyncio.Event
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        self._do(self._listen())

    def turn(self, mode: Mode, *, delay: float = 0.0) -> None:
        """From now on. `delay`: so many seconds before anything is passed on, in either direction."""
        self._do(self._turn(mode, delay))

    def close(self) -> None:
        """Listen no more."""
        self._do(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)

    async def _close(self) -> None:
        self._server.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _do(self, what: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(what, self._loop).result(10)

    async def _listen(self) -> None:
        self._passes = asyncio.Event()
        self._passes.set()
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _turn(self, mode: Mode, delay: float) -> None:
        self._mode, self._delay = mode, delay
        if mode == "pass":
            self._passes.set()
        else:
            self._passes.clear()
        if mode == "cut":
            for writer in list(self._writers):
                writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            if self._mode == "cut":
                return
            await self._passes.wait()
            there_reader, there = await asyncio.open_connection("127.0.0.1", self._target)
            self._writers.add(there)
            try:
                await asyncio.gather(self._pump(reader, there), self._pump(there_reader, writer))
            finally:
                self._writers.discard(there)
                there.transport.abort()
        except OSError:  # nobody listens there
            pass
        finally:
            self._writers.discard(writer)
            writer.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65_536):
                await asyncio.sleep(self._delay)
                await self._passes.wait()
                writer.write(data)
                await writer.drain()
            writer.write_eof()
