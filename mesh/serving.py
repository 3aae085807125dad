"""What ``run`` does on both faces: serve until a signal, leave well, close.

The first SIGINT or SIGTERM drains the node, for a bounded time; a second one closes it at once.
``close()`` from anywhere ends ``run`` as well, without a drain.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine, Iterator
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from mesh.logs import get_logger
from mesh.runtime.signals import stop_on_signals
from patterns.errors import NodeClosed, Timeout

if TYPE_CHECKING:
    from mesh.aio import AsyncNode
    from mesh.node import Node

__all__ = ["DRAIN_TIMEOUT", "serve", "serve_blocking"]

logger = get_logger("mesh.node")

DRAIN_TIMEOUT = 30.0
"""Seconds for handlers that run when the node leaves: what most supervisors give to a service."""

_CLOSED_POLL = 0.5
"""Seconds between looks at whether somebody else closed the node; signals end the wait at once."""


_SIGNAL, _DRAINED, _ENDED = "signal", "drained", "ended"


async def serve(node: AsyncNode, seconds: float) -> None:
    """``AsyncNode.run``."""
    loop = asyncio.get_running_loop()
    signals: asyncio.Queue[None] = asyncio.Queue()

    def on_signal() -> None:
        loop.call_soon_threadsafe(signals.put_nowait, None)

    with _until_closed(node), stop_on_signals(on_signal):
        async with node:
            node.host.end_run = node.stopping.set
            await _first(signals.get(), node.stopping.wait())
            if not node.stopping.is_set():
                is_drained = await _first(_drain(node, seconds), signals.get())
                if not is_drained:
                    await node.close()


@contextlib.contextmanager
def _until_closed(node: AsyncNode) -> Iterator[None]:
    """Who is closed while it starts has ended as well; who was closed before cannot run."""
    was_closed = node.is_closed
    try:
        yield
    except NodeClosed:
        if was_closed or not node.is_closed:
            raise


async def _first(wait: Coroutine[Any, Any, object], *others: Coroutine[Any, Any, object]) -> bool:
    """Until one of them ends; the others are cancelled. Returns whether it was the first."""
    tasks = [asyncio.ensure_future(each) for each in (wait, *others)]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        return tasks[0].done()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def _drain(node: AsyncNode, seconds: float) -> None:
    try:
        await node.drain(seconds)
    except Timeout as left:
        logger.warning("%r leaves though it is %s", node, left)
    except NodeClosed:
        return  # somebody could not wait


def serve_blocking(node: Node, seconds: float) -> None:
    """``Node.run``."""
    # Of all that wakes a thread, putting on this one is what a signal handler may do.
    events: SimpleQueue[str] = SimpleQueue()
    with _until_closed(node.aio), stop_on_signals(lambda: events.put(_SIGNAL)), node:
        node.aio.host.end_run = lambda: events.put(_ENDED)
        if _next(events, node) == _SIGNAL:
            with contextlib.suppress(NodeClosed):
                node.aio.host.hand_over(_begin_drain, node.aio, seconds, events)
            if _next(events, node) == _SIGNAL:
                node.close()


def _next(events: SimpleQueue[str], node: Node) -> str:
    """What happens next; nothing more does when the node is closed."""
    while not node.aio.is_closed:
        with contextlib.suppress(Empty):
            return events.get(timeout=_CLOSED_POLL)
    return ""


def _begin_drain(node: AsyncNode, seconds: float, events: SimpleQueue[str]) -> None:
    draining = asyncio.ensure_future(_drain(node, seconds))
    draining.add_done_callback(lambda _: events.put(_DRAINED))
