"""Taps: calls and messages as they pass a node, for who looks on (``meshctl tap``).

A tap is a bounded buffer. Who passes never waits for who looks: what does not fit is counted, and
the reader is told. Without a tap there is nothing of this on any path.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from datetime import datetime
from reprlib import Repr
from typing import Any

from mesh.wire.codec import Codec
from patterns.errors import BadName, BadRequest, MeshError, Overloaded
from patterns.names import check_pattern
from patterns.subjects import SubjectMap

__all__ = ["KINDS", "MAX_BUFFERED", "MAX_SHOWN", "MAX_TAPS", "Tap", "Taps"]

KINDS = ("calls", "casts", "publishes")
"""What can be tapped: calls and streams; groupcasts; publishes, broadcasts and sends."""

MAX_TAPS = 8
"""Of one node at once: each costs whatever passes it something."""

MAX_BUFFERED = 2048
"""Events that wait for the reader of a tap; what comes then is dropped and counted."""

MAX_SHOWN = 512
"""Characters of a payload as text."""

_IN_A_ROW = 8


class _Short(Repr):
    """Payloads as text, of bounded length and for a bounded effort, however large they are."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel = 4
        self.maxdict = self.maxlist = self.maxtuple = self.maxset = _IN_A_ROW
        self.maxstring = self.maxother = self.maxlong = 128

    def repr_bytes(self, value: bytes, level: int) -> str:
        """The base class would write out all of it first."""
        more = "..." if len(value) > self.maxstring else ""
        return f"{bytes(value[: self.maxstring])!r}{more}"

    repr_bytearray = repr_memoryview = repr_bytes


_shorten = _Short()


class Tap:
    """One reader's."""

    def __init__(self, kinds: Iterable[str], pattern: str | None, with_payload: bool) -> None:
        self.kinds = frozenset(kinds)
        self.with_payload = with_payload
        self._matching: SubjectMap[bool] | None = None
        if pattern is not None:
            self._matching = SubjectMap()
            self._matching.add(pattern, True)
        self._events: deque[dict[str, Any]] = deque()
        self._dropped = 0

    def wants(self, kind: str, name: str) -> bool:
        """Whether it shows what concerns that method, subject or group."""
        return kind in self.kinds and (self._matching is None or bool(self._matching.match(name)))

    def put(self, event: dict[str, Any]) -> None:
        if len(self._events) >= MAX_BUFFERED:
            self._dropped += 1
        else:
            self._events.append(event)

    def take(self, most: int) -> tuple[list[dict[str, Any]], int]:
        """The next events, and how many were dropped since."""
        events: list[dict[str, Any]] = []
        while self._events and len(events) < most:
            events.append(self._events.popleft())
        dropped, self._dropped = self._dropped, 0
        return events, dropped


class Taps:
    """All of one node. ``changed()`` is called when the first begins and when the last ends."""

    def __init__(self, wall_clock: Callable[[], datetime]) -> None:
        self._taps: tuple[Tap, ...] = ()
        self._wall_clock = wall_clock
        self.changed: Callable[[], None] = lambda: None

    def __bool__(self) -> bool:
        return bool(self._taps)

    def open(self, kinds: object, pattern: object, payload: object) -> Tap:
        """Begin one. Raises BadRequest and Overloaded."""
        wanted = kinds or KINDS
        if not isinstance(wanted, list | tuple) or not all(kind in KINDS for kind in wanted):
            raise BadRequest(f"kinds: give a list of {', '.join(KINDS)}")
        if pattern is not None:
            try:
                check_pattern(pattern)
            except BadName as error:
                raise BadRequest(f"match: {error}") from None
        if len(self._taps) >= MAX_TAPS:
            raise Overloaded(f"{len(self._taps)} taps are open here already")
        tap = Tap(wanted, str(pattern) if pattern is not None else None, bool(payload))
        self._taps += (tap,)
        self.changed()
        return tap

    def close(self, tap: Tap) -> None:
        self._taps = tuple(one for one in self._taps if one is not tap)
        self.changed()

    def wants(self, kind: str, name: str) -> bool:
        """Whether anybody looks at that."""
        return any(tap.wants(kind, name) for tap in self._taps)

    def tell(
        self, kind: str, name: str, what: str, is_in: bool, peer: str, payload: Any, **more: Any
    ) -> None:
        """It has passed, now. ``what`` is the verb; ``payload`` what it carries."""
        event: dict[str, Any] | None = None
        shown: dict[str, Any] | None = None
        for tap in self._taps:
            if not tap.wants(kind, name):
                continue
            if event is None:
                event = {
                    "time": self._wall_clock().timestamp(),
                    "direction": "in" if is_in else "out",
                    "kind": what,
                    "name": name,
                    "peer": peer,
                    "size": _size_of(payload),
                    **more,
                }
            if tap.with_payload:
                shown = shown or {**event, "payload": _shorten.repr(payload)[:MAX_SHOWN]}
            tap.put(shown if shown is not None and tap.with_payload else event)


def _size_of(payload: Any) -> int | None:
    """Bytes, packed; None of what cannot be. With a codec of its own: it may be any thread."""
    try:
        return len(Codec().pack(payload))
    except MeshError:
        return None
