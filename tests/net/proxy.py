"""A TCP proxy whose connections a test can cut: a link that breaks while both processes live."""

from __future__ import annotations

import asyncio
import threading
from types import TracebackType
from typing import Self

__all__ = ["Proxy"]

CHUNK = 64 * 1024


class Proxy:
    """Forwards to ``target`` ("host:port") on a thread of its own, between ``with`` and its end."""

    def __init__(self, target: str) -> None:
        self.aim(target)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run)
        self._ready = threading.Event()
        self._open: set[asyncio.StreamWriter] = set()
        self._pumps: set[asyncio.Task[None]] = set()
        self.accepted = 0
        """Connections so far."""
        self.forwarded = 0
        """Bytes that the target has sent through, all connections."""
        self.swallowed = 0
        """Bytes of the target that were not passed on."""
        self._is_swallowing = False
        self.address = ""

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(10.0)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def aim(self, target: str) -> None:
        """Forward new connections there."""
        host, _, port = target.rpartition(":")
        self._target = host, int(port)

    def swallow(self) -> None:
        """Pass on nothing that the target sends, until the next ``cut``: a link that is dying."""
        self._is_swallowing = True

    def cut(self) -> None:
        """Reset every connection that is open now; new ones are accepted, and work."""
        done = threading.Event()

        def abort() -> None:
            for writer in self._open:
                writer.transport.abort()
            self._is_swallowing = False
            done.set()

        self._loop.call_soon_threadsafe(abort)
        assert done.wait(10.0)

    def _run(self) -> None:
        loop = self._loop
        server = loop.run_until_complete(asyncio.start_server(self._accept, "127.0.0.1", 0))
        self.address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        loop.call_soon(self._ready.set)
        loop.run_forever()
        server.close()
        for writer in self._open:
            writer.transport.abort()
        loop.run_until_complete(self._end())
        loop.close()

    async def _end(self) -> None:
        if self._pumps:
            await asyncio.wait(self._pumps)
        await asyncio.sleep(0)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection(*self._target)
        except OSError:
            writer.transport.abort()
            return
        self.accepted += 1
        self._open |= {writer, far_writer}
        for pump in (
            self._pump(reader, far_writer, writer, False),
            self._pump(far_reader, writer, far_writer, True),
        ):
            task = self._loop.create_task(pump)
            self._pumps.add(task)
            task.add_done_callback(self._pumps.discard)

    async def _pump(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        source: asyncio.StreamWriter,
        is_counted: bool,
    ) -> None:
        try:
            while data := await reader.read(CHUNK):
                if is_counted and self._is_swallowing:
                    self.swallowed += len(data)
                    continue
                writer.write(data)
                if is_counted:
                    self.forwarded += len(data)
                await writer.drain()
        except ConnectionError:
            pass  # cut, by the test or by an end
        finally:
            for end in (source, writer):
                end.transport.abort()
                self._open.discard(end)
