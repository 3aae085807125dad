"""Publishing from other threads than the loop's.

A thread packs with a codec of its own and hands over *runs*: entries for the same nodes, one item
of the handover for all of them. A run grows only while it is the last that anybody has handed
over, so what the loop does is in the order in which verbs were called, across threads too.

No lock: a signal handler may publish in the middle of a publish. The thread appends to the run and
looks then whether the loop has begun to take it; if so, it takes back what the loop has not got
and hands that over anew. Each entry leaves the run once, whoever takes it.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from mesh.engine.guard import Guard
from mesh.engine.packing import check_size
from mesh.engine.publisher import Publisher, Publishing
from mesh.engine.sending import Sending
from mesh.links import BATCH_BYTES, BATCH_ENTRIES
from mesh.wire.codec import Codec
from mesh.wire.frames import PUBLISH
from patterns.names import check_subject

if TYPE_CHECKING:
    from mesh.host import Host

__all__ = ["Publishers", "ThreadPublisher"]

RUN_BYTES = 1024
"""What a run takes besides its entries, about; most of it is the deque's first block."""

COUNT_BYTES = 256
"""What an item takes, about, that only counts a message."""


class Publishers:
    """The publisher of each thread; the loop's goes straight to the links."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self.here = threading.local()
        """``publisher`` of the thread that asks, if there is one already."""
        self.observed: Callable[[Publisher], Publishing] = _as_it_is
        """What stands for a publisher: itself, or one around it while somebody looks on."""

    def add(self) -> Publishing:
        """Make that of the thread that asks. A signal handler may be quicker; then it has its own,
        and the later one stays."""
        host = self._host
        plain = host.engine.publisher if host.is_own_thread else _thread_publisher(host)
        made = self.observed(plain)
        self.here.publisher = made
        return made

    def renew(self) -> None:
        """Each thread needs another one: somebody looks on from now on, or does so no more."""
        self.here = threading.local()


class ThreadPublisher(Publisher):
    """The verb; on one thread that is not the loop's. Raises NodeClosed, too."""

    def __init__(self, host: Host) -> None:
        engine = host.engine
        self._host = host
        self._on_loop = engine.publisher
        sending = ThreadSending(host)
        super().__init__(sending, engine.pubsub, engine.absent, engine.publisher.sender)

    def send_copies(self, subject: str, copies: Sequence[tuple[str, bytes]]) -> None:
        size = sum(len(entry) for _, entry in copies)
        self._host.handover.put(self._on_loop.send_copies, (subject, copies), size)

    def _find_route(self, subject: str) -> tuple[Any, ...]:
        targets: tuple[Any, ...] = self._host.on_loop(self._pubsub.route, subject)
        return targets

    def _find_queues(self, subject: str) -> Any:
        route = self._queues.known_route(subject)
        return self._host.on_loop(self._queues.route, subject) if route is None else route

    def _count_absent(self, subject: str) -> None:
        self._host.handover.put(self._absent.count, (subject,), COUNT_BYTES)


class GuardedThreadPublisher(ThreadPublisher):
    """The same of a node with a policy."""

    def __init__(self, host: Host, guard: Guard) -> None:
        super().__init__(host)
        self._guard = guard

    def publish(self, subject: str, data: Any, headers: dict[str, str] | None) -> int:
        """Raises AccessDenied, too."""
        denied = "publish", check_subject(subject)
        is_allowed, rule = self._guard.decide_own(*denied)
        if not is_allowed:
            self._host.handover.put(self._guard.note_own, (*denied, rule), COUNT_BYTES)
            raise self._guard.own_denial(*denied, rule)
        return super().publish(subject, data, headers)


def _as_it_is(publisher: Publisher) -> Publishing:
    return publisher


def _thread_publisher(host: Host) -> ThreadPublisher:
    guard = host.engine.guard
    return ThreadPublisher(host) if guard is None else GuardedThreadPublisher(host, guard)


class ThreadSending(Sending):
    """The way to the loop, where ``LinkSending`` takes over; publishes only."""

    def __init__(self, host: Host) -> None:
        super().__init__(Codec(), host.engine.sending.limit)
        self.links = host.engine.sending
        self.handover = host.handover

    def send(self, kind: int, targets: tuple[Any, ...], entry: bytes, payload: bytes = b"") -> None:
        """Waits while too much is on its way already."""
        size = len(entry) + len(payload)
        if payload or size > BATCH_BYTES:
            check_size(entry, self.limit)
            self.handover.put(self.links.send, (kind, targets, entry, payload), size)
            return
        run = Run(self, targets, entry)
        # What the run before has grown to is known, and charged, when the next one begins.
        self.handover.put(run, (), RUN_BYTES + self.last[1].size)
        self.last = targets, run


class Run:
    """Entries for ``targets``, in one item of the handover, whose function it is."""

    __slots__ = ("_entries", "_is_taken", "_items", "_sending", "_targets", "size")

    def __init__(self, sending: ThreadSending, targets: tuple[Any, ...], entry: bytes) -> None:
        self._sending = sending
        self._items = sending.handover.items
        self._targets = targets
        self._entries = deque((entry,))
        self.size = len(entry)
        self._is_taken = False
        """Whether the loop has begun to take the entries; it goes on until there are none."""

    def append(self, entry: bytes) -> bool:
        """One more; False when it is full, taken, or not the last item any more."""
        size = self.size + len(entry)
        entries = self._entries
        if size > BATCH_BYTES or len(entries) >= BATCH_ENTRIES or self._is_taken:
            return False
        try:
            if self._items[-1][0] is not self:
                return False
        except IndexError:
            return False
        self.size += len(entry)
        entries.append(entry)
        if self._is_taken:
            self._take_back()
        return True

    def _take_back(self) -> None:
        """The loop has been quicker, perhaps: what it has not got goes behind all else."""
        with suppress(IndexError):
            self._sending.send(PUBLISH, self._targets, self._entries.pop())

    def __call__(self) -> None:
        """On the loop: into the links."""
        self._is_taken = True
        entries: list[bytes] = []
        with suppress(IndexError):
            # In C, and to the end: the list keeps what it has got when ``popleft`` raises.
            entries.extend(iter(self._entries.popleft, None))
        if entries:
            self._sending.links.send_run(PUBLISH, self._targets, entries)
