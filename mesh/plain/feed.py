"""What plain subscribers hear: their prefixes as interest in the mesh, its messages as frames.

* The prefixes are those that some client wants; ZeroMQ tells when the first begins and the last
  ceases to. For each the node subscribes to the least pattern that covers it, and ZeroMQ filters.
* A pattern that nobody needs any more is kept for `LINGER`: clients that come and go, whatever they
  ask for, change this node's record at most `MAX_PREFIXES` times in that time.
* Frames wait here for their turn, a bounded number. What comes then is dropped and counted: the
  window of the mesh's links never waits for a plain client.

Surprise: a message that several of the patterns match is handled once for each. They come one
after the other with nothing in between, so that it is the same object tells.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from mesh.engine import Engine
from mesh.logs import get_logger
from mesh.plain import wire
from mesh.wire.codec import Codec
from patterns.errors import AccessDenied, BadName, BadPayload, ConfigError, NodeClosed
from patterns.messages import Message
from patterns.port import Runner, Timer
from patterns.subscription import Subscription

__all__ = ["LINGER", "MAX_PREFIXES", "MAX_WAITING", "MAX_WAITING_BYTES", "PlainFeed"]

logger = get_logger("mesh.plain")

MAX_PREFIXES = 256
"""Distinct prefixes that are listened to; each may cost a pattern in the record all peers have."""

LINGER = 1.0
"""Seconds."""

MAX_WAITING = 10_000
MAX_WAITING_BYTES = 16 * 1024 * 1024
"""Frames for plain subscribers that have not had their turn: a burst, no more."""

FRAMES_PER_TURN = 512
"""A millisecond of the loop's time; a turn that reads from the mesh takes up to ten."""


class _Interest:
    """One pattern, and the prefixes for which it stands."""

    __slots__ = ("prefixes", "subscription", "timer")

    def __init__(self, subscription: Subscription) -> None:
        self.subscription = subscription
        self.prefixes: set[bytes] = set()
        self.timer: Timer | None = None


class PlainFeed:
    """``publish(frame)`` sends to the subscribers that want it, and waits for none."""

    def __init__(
        self,
        engine: Engine,
        runner: Runner,
        codec: Codec,
        publish: Callable[[bytes], None],
        count: Callable[[str], None],
    ) -> None:
        self._engine = engine
        self._runner = runner
        self._codec = codec
        self._publish = publish
        self._count = count
        self._interests: dict[str, _Interest] = {}
        self._patterns: dict[bytes, str] = {}
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._turn: Timer | None = None
        self._last: Message | None = None
        self._has_warned = False
        self._is_closed = False

    # Prefixes.

    def on_prefix(self, prefix: bytes, is_wanted: bool) -> None:
        """The first client begins to want a prefix, or the last one has gone."""
        if is_wanted:
            try:
                self._want(prefix)
            except (AccessDenied, BadName, ConfigError, NodeClosed) as error:
                self._count("plain_prefixes_refused")
                if not self._has_warned:
                    self._has_warned = True
                    logger.warning("a plain subscription to %.80r is refused: %s", prefix, error)
        else:
            self._unwant(prefix)

    def _want(self, prefix: bytes) -> None:
        if prefix in self._patterns:
            return
        pattern = wire.covering_pattern(prefix)
        interest = self._interests.get(pattern)
        # Patterns that linger count, or what changes the record would not be bounded.
        if max(len(self._patterns), len(self._interests) - (interest is not None)) >= MAX_PREFIXES:
            raise ConfigError(f"{MAX_PREFIXES} prefixes are listened to already")
        if interest is None:
            interest = _Interest(self._subscribed(pattern))
            self._interests[pattern] = interest
        elif interest.timer is not None:
            interest.timer.cancel()
            interest.timer = None
        interest.prefixes.add(prefix)
        self._patterns[prefix] = pattern

    def _subscribed(self, pattern: str) -> Subscription:
        subscription = Subscription(pattern, self._runner, handler=self._on_message, inline=True)
        self._engine.subscribe(subscription)
        return subscription

    def _unwant(self, prefix: bytes) -> None:
        pattern = self._patterns.pop(prefix, None)
        if pattern is None:
            return
        interest = self._interests[pattern]
        interest.prefixes.discard(prefix)
        if not interest.prefixes:
            interest.timer = self._engine.call_later(LINGER, lambda: self._end(pattern))

    def _end(self, pattern: str) -> None:
        self._engine.unsubscribe(self._interests.pop(pattern).subscription)

    # Messages.

    def _on_message(self, message: Message) -> None:
        # Not what was sent to this node alone, nor to a group.
        if message.kind != "publish" or message.subject is None:
            return
        if message is self._last or self._is_closed:
            return
        self._last = message
        if len(self._waiting) >= MAX_WAITING or self._waiting_bytes >= MAX_WAITING_BYTES:
            self._count("plain_messages_dropped")
            return
        try:
            frame = wire.pack_message(message.subject, message.data, self._codec)
        except BadPayload:
            self._count("plain_messages_dropped")
            return
        self._waiting.append(frame)
        self._waiting_bytes += len(frame)
        if self._turn is None:
            self._turn = self._engine.call_later(0, self._send)

    def _send(self) -> None:
        self._turn = None
        waiting = self._waiting
        for _ in range(min(len(waiting), FRAMES_PER_TURN)):
            frame = waiting.popleft()
            self._waiting_bytes -= len(frame)
            self._publish(frame)
        if waiting:
            self._turn = self._engine.call_later(0, self._send)
        else:
            self._last = None

    # The end.

    def close(self) -> None:
        """Send nothing more."""
        self._is_closed = True
        timers = [self._turn, *(interest.timer for interest in self._interests.values())]
        for timer in timers:
            if timer is not None:
                timer.cancel()
        self._turn = None
        self._interests.clear()
        self._patterns.clear()
        self._waiting.clear()
