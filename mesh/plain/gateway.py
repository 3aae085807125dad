"""One node's gateway: what the plain sockets tell goes in here, what they are to send comes out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from mesh.engine import Engine
from mesh.plain.calls import PlainCalls
from mesh.plain.feed import PlainFeed
from mesh.wire.codec import Codec
from patterns.port import Runner

__all__ = ["Gateway", "PlainPort"]


class PlainPort(Protocol):
    """The sockets of plain clients."""

    def reply(self, client: bytes, parts: Sequence[bytes]) -> bool:
        """Send one reply; False when the client is gone or reads nothing."""

    def publish(self, frame: bytes) -> None:
        """To every subscriber with a prefix of it; those that are too slow lose it."""


class Gateway:
    """Everything happens on the loop's thread, in turns; see ``docs/protocol.md`` for the wire."""

    def __init__(self, engine: Engine, runner: Runner, port: PlainPort) -> None:
        self._engine = engine
        self.counters: dict[str, int] = {}
        codec = Codec()
        self._calls = PlainCalls(engine, codec, port.reply, self._count)
        self._feed = PlainFeed(engine, runner, codec, port.publish, self._count)
        self.on_request = self._calls.on_request
        self.on_prefix = self._feed.on_prefix
        self.begin_drain = engine.begin_drain
        self.end_drain = engine.end_drain

    def _count(self, what: str) -> None:
        self.counters[what] = self.counters.get(what, 0) + 1

    def close(self) -> None:
        """Listen to nothing any more; the calls in flight end with the engine's."""
        self._feed.close()
