"""The HTTP beside a node: ``/metrics``, ``/healthz`` and ``/readyz``, on a thread of its own.

It is not on the node's loop, for it has to answer when that is blocked. One thread with one small
event loop serves all connections, one request each, so there is nothing to exhaust: a request is
read within ``REQUEST_SECONDS`` and ``MAX_REQUEST_BYTES`` or not at all, and past
``MAX_CONNECTIONS`` the oldest connection makes room. Whoever holds connections open delays nobody.

What is asked of the node has a deadline, too. ``close`` ends the thread and frees the port before
it returns. In a forked child the listening socket is closed, so that it does not outlive the
parent's ``close`` there.

Surprise: nobody is asked who he is. The answers tell names of nodes and methods, and addresses.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from discovery import format_address
from mesh.inspection.health import Health, blocked
from mesh.logs import get_logger
from mesh.metrics.exporter import DEADLINE, Questions, load_library, metrics, snapshot_of
from mesh.metrics.families import Snapshot
from mesh.runtime import forget_in_child
from mesh.settings import Settings
from mesh.transport.addresses import is_wildcard
from mesh.transport.listening import listen
from patterns.errors import NodeClosed

if TYPE_CHECKING:
    from prometheus_client import Metric

    from mesh.host import Host

__all__ = ["MetricsServer"]

logger = get_logger("mesh.metrics")

REQUEST_SECONDS = 5.0
"""From the connection to the end of the answer, the node's ``DEADLINE`` included."""

MAX_REQUEST_BYTES = 8192
"""Of a request line and its headers: Prometheus sends 300."""

MAX_CONNECTIONS = 16
"""At once: some scrapers, some probes."""

CLOSE_SECONDS = 1.0
"""For the thread to end; it has nothing to wait for, and takes some milliseconds."""

JSON = "application/json"
TEXT = "text/plain; charset=utf-8"
PATHS = ("/metrics", "/healthz", "/readyz")


class Refusal(Exception):
    """A request that gets no answer but a status."""

    def __init__(self, status: HTTPStatus, text: str) -> None:
        super().__init__(text)
        self.status = status


class MetricsServer:
    """Of one running node."""

    def __init__(self, host: Host, settings: Settings) -> None:
        self._settings = settings
        self._library = load_library()
        self._metrics = host.questions
        self._health = Questions(host, host.vitals.health)
        self._snapshot: Snapshot | None = None
        self._registry = self._library.CollectorRegistry()
        self._library.ProcessCollector(registry=self._registry)
        self._registry.register(self)
        self._loop = asyncio.SelectorEventLoop()
        self._stopping = asyncio.Event()
        self._connections: dict[asyncio.Task[None], None] = {}
        self._socket: socket.socket | None = None
        self.address = ""
        """Where it listens, "host:port"."""
        name = f"mesh-metrics-{settings.name}"
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        forget_in_child(self)

    # Life.

    def open(self, host: str, port: int) -> None:
        """Listen from now on. Raises OSError when the address or the port is not to be had, and
        RuntimeError when the machine has no more threads."""
        try:
            made = self._socket = listen(host, port)
            shown = "127.0.0.1" if is_wildcard(host) else host
            self.address = format_address(shown, made.getsockname()[1])
            self._thread.start()
        except (OSError, RuntimeError) as error:
            self.forget()
            self._loop.close()
            if isinstance(error, OSError):
                raise OSError(error.errno, f"metrics_port: {error.strerror}") from None
            raise

    def close(self) -> None:
        """End the thread and free the port. Idempotent; takes milliseconds."""
        if not self._thread.is_alive():
            return
        with contextlib.suppress(RuntimeError):  # it ended in between
            self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(CLOSE_SECONDS)

    def forget(self) -> None:
        """In a forked child: the port is the parent's. The loop is as well, and stays as it is."""
        if self._socket is not None:
            self._socket.close()

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._serve())
        except Exception:
            logger.exception("%s: its metrics are not served any more", self._settings.title)
        finally:
            self._loop.close()

    async def _serve(self) -> None:
        server = await asyncio.start_server(
            self._connected, sock=self._socket, limit=MAX_REQUEST_BYTES
        )
        try:
            await self._stopping.wait()
        finally:
            # First no more: asyncio loses what it accepts in the turn in which a server closes.
            for listening in server.sockets:
                self._loop.remove_reader(listening.fileno())
            await self._end_connections()
            server.close()

    async def _end_connections(self) -> None:
        me = asyncio.current_task()
        while others := asyncio.all_tasks() - {me}:
            # One that was accepted just now is a task of asyncio's first, and ours a turn later.
            for task in self._connections:
                task.cancel()
            await asyncio.wait(others)
        await asyncio.sleep(0)  # a transport closes in the turn after it was told to

    # Connections.

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._connections) >= MAX_CONNECTIONS:
            oldest = next(iter(self._connections))
            # Now, and not when it has ended: many may come in one turn.
            del self._connections[oldest]
            oldest.cancel()
        task = self._loop.create_task(self._answer(reader, writer))
        self._connections[task] = None

        def ended(task: asyncio.Task[None]) -> None:
            # Not in the task: one that is cancelled before its first step runs nothing.
            self._connections.pop(task, None)
            writer.transport.abort()

        task.add_done_callback(ended)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(REQUEST_SECONDS):
                writer.write(await self._response(reader))
                await writer.drain()
                # Not only closed: a forked child may have the connection as well.
                writer.write_eof()
                writer.close()
                await writer.wait_closed()
        except (TimeoutError, OSError, EOFError) as error:
            logger.debug("a request for metrics was given up: %r", error)

    async def _response(self, reader: asyncio.StreamReader) -> bytes:
        is_head = False
        try:
            method, path, accept = await _request(reader)
            is_head = method == "HEAD"
            status, kind, body = await self._route(path, accept)
        except Refusal as refusal:
            status, kind, body = refusal.status, TEXT, f"{refusal}\n".encode()
        head = (
            f"HTTP/1.1 {status.value} {status.phrase}\r\n"
            f"Content-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
            "Cache-Control: no-store\r\nConnection: close\r\n"
        )
        if status is HTTPStatus.METHOD_NOT_ALLOWED:
            head += "Allow: GET, HEAD\r\n"
        return f"{head}\r\n".encode() + (b"" if is_head else body)

    async def _route(self, path: str, accept: str) -> tuple[HTTPStatus, str, bytes]:
        if path == "/metrics":
            return await self._scrape(accept)
        if path == "/healthz":
            health = await self._asked_health()
            return self._said(health, health is not None and health.is_live)
        if path == "/readyz":
            health = await self._asked_health()
            return self._said(health, health is not None and health.is_ready)
        raise Refusal(HTTPStatus.NOT_FOUND, f"there are {', '.join(PATHS)}")

    # Answers.

    async def _scrape(self, accept: str) -> tuple[HTTPStatus, str, bytes]:
        answer = self._metrics.ask()
        await _until(answer)
        try:
            self._snapshot = snapshot_of(self._settings, answer)
        except NodeClosed as error:
            raise Refusal(HTTPStatus.SERVICE_UNAVAILABLE, str(error)) from None
        choose = self._library.exposition.choose_encoder
        try:
            encode, kind = choose(accept)
        except (TypeError, ValueError, LookupError):  # a version that is none
            encode, kind = choose("")
        return HTTPStatus.OK, kind, encode(self._registry)

    def collect(self) -> Iterator[Metric]:
        """For the registry: what ``_scrape`` has just got."""
        return metrics([self._snapshot] if self._snapshot is not None else [])

    def describe(self) -> Iterator[Metric]:
        return iter(())

    async def _asked_health(self) -> Health | None:
        """None of a node that has ended."""
        answer = self._health.ask()
        await _until(answer)
        try:
            return answer.result() if answer.done() else blocked(DEADLINE)
        except NodeClosed:
            return None

    def _said(self, health: Health | None, is_good: bool) -> tuple[HTTPStatus, str, bytes]:
        said: dict[str, Any] = {"node": self._settings.title, "mesh": self._settings.mesh}
        if health is None:
            said |= {"status": "closed", "reasons": [], "problems": []}
        else:
            said |= {
                "status": health.status,
                "reasons": health.reasons,
                "problems": health.problems,
            }
        status = HTTPStatus.OK if is_good else HTTPStatus.SERVICE_UNAVAILABLE
        return status, JSON, json.dumps(said).encode() + b"\n"


async def _request(reader: asyncio.StreamReader) -> tuple[str, str, str]:
    """The method, the path, and what is accepted. Raises Refusal, EOFError."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.LimitOverrunError:
        text = f"more than {MAX_REQUEST_BYTES} bytes"
        raise Refusal(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, text) from None
    first, *headers = head.decode("latin-1").split("\r\n")
    words = first.split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1."):
        raise Refusal(HTTPStatus.BAD_REQUEST, "this speaks HTTP/1.1")
    method, target, _ = words
    if method not in ("GET", "HEAD"):
        raise Refusal(HTTPStatus.METHOD_NOT_ALLOWED, "GET and HEAD are served")
    accept = next((h[7:].strip() for h in headers if h[:7].lower() == "accept:"), "")
    return method, target.partition("?")[0], accept


async def _until(answer: Future[Any]) -> None:
    """Until it is there, or ``DEADLINE`` is over."""
    loop = asyncio.get_running_loop()
    done = asyncio.Event()

    def tell(_: Future[Any]) -> None:
        with contextlib.suppress(RuntimeError):  # the thread has ended meanwhile
            loop.call_soon_threadsafe(done.set)

    answer.add_done_callback(tell)
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(done.wait(), DEADLINE)
