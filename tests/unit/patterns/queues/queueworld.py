"""Homes and workers on virtual time: each has a clock of its own, and messages take their time.

The lines, counters and workers are the real ones. A home here is no more than its lines: jobs are
safe when they are put.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from patterns.queues.checks import BadMessage
from patterns.queues.counter import Counter, Customer
from patterns.queues.line import Holder, Line
from patterns.queues.messages import JOBS
from patterns.queues.order import Order, Strict
from patterns.queues.ticket import NEVER, Ticket
from patterns.queues.window import TicketStore
from patterns.queues.worker import Held, Source, Worker

__all__ = ["Desk", "Link", "Store", "WorkerSide", "World"]


class Timed:
    def __init__(self, callback: Callable[[], None]) -> None:
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        self.callback = None


class World:
    """Time, and what is to happen. ``watch`` is called after each step."""

    def __init__(self, seed: int = 0) -> None:
        self.random = Random(seed)
        self.time = 1_000.0
        self._heap: list[tuple[float, int, Timed]] = []
        self._soon: deque[Callable[[], None]] = deque()
        self._count = 0
        self.steps = 0
        self.watch: Callable[[], None] | None = None

    def at(self, when: float, callback: Callable[[], None]) -> Timed:
        timed = Timed(callback)
        self._count += 1
        heapq.heappush(self._heap, (max(when, self.time), self._count, timed))
        return timed

    def soon(self, callback: Callable[[], None]) -> None:
        self._soon.append(callback)

    def run(self, seconds: float, most: int = 1_000_000) -> None:
        """Let so much time pass."""
        end = self.time + seconds
        while True:
            while self._soon:
                self._step(self._soon.popleft())
            if not self._heap or self._heap[0][0] > end:
                break
            self.time, _, timed = heapq.heappop(self._heap)
            callback, timed.callback = timed.callback, None
            if callback is not None:
                self._step(callback)
            most -= 1
            assert most, "it turns on the spot"
        self.time = end

    def _step(self, callback: Callable[[], None]) -> None:
        self.steps += 1
        callback()
        if self.watch is not None:
            self.watch()


class Clock:
    """Of one node: ``lead`` seconds off, and fast by ``drift``."""

    def __init__(self, world: World, lead: float = 0.0, drift: float = 0.0) -> None:
        self._world = world
        self._lead = lead
        self._drift = drift

    def now(self) -> float:
        return self._world.time * (1 + self._drift) + self._lead

    def call_later(self, delay: float, callback: Callable[[], None]) -> Timed:
        return self._world.at(self._world.time + delay / (1 + self._drift), callback)

    def call_soon(self, callback: Callable[[], None]) -> None:
        self._world.soon(callback)


class Store:
    """It keeps nothing: the lines have all in memory."""

    id = "0badcafe"

    def mark(self, ticket: Ticket) -> None:
        pass

    def mark_many(self, tickets: Sequence[Ticket]) -> None:
        pass

    def page(self, *asked: object) -> None:
        raise AssertionError("all is in memory")


class ReadyLine(Line):
    def __init__(
        self, now: Callable[[], int], taken: Callable[[], None], store: TicketStore | None
    ) -> None:
        self.on_ready: Callable[[], None] = lambda: None
        self.taken = taken
        window = None if store is None else 10
        super().__init__(store or Store(), now, is_ready=lambda: self.on_ready(), window=window)

    def take(self, holder: Holder, most: int, most_bytes: int = NEVER) -> list[Ticket]:
        tickets = super().take(holder, most, most_bytes)
        if tickets:
            self.taken()
        return tickets


class Desk:
    """A home."""

    def __init__(
        self,
        world: World,
        queue: str = "q",
        *,
        lead: float = 0.0,
        drift: float = 0.0,
        store: TicketStore | None = None,
    ) -> None:
        self.world = world
        self.name = queue
        self.store = Store()
        self.offset_ms = 5_000
        self.clock = Clock(world, lead, drift)
        self.progresses: list[tuple[int, object]] = []
        self.done: dict[int, bytes | None] = {}
        self.last_number = 0
        self.line = ReadyLine(self.now_ms, lambda: world.soon(self.tick), store)
        self.counter = Counter(self, self.line, self.clock)
        self._timer: Timed | None = None

    def now_ms(self) -> int:
        return int(self.clock.now() * 1000)

    def put(self, count: int = 1, body: bytes = b"job", **fields: Any) -> None:
        for _ in range(count):
            self.last_number += 1
            self.line.put(Ticket(self.last_number, body, self.now_ms(), **fields))
        self.tick()

    def tick(self) -> None:
        """What a home's timer does."""
        next_at = self.line.advance()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if next_at < NEVER:
            wait = max(0.001, (next_at - self.now_ms()) / 1000)
            self._timer = self.clock.call_later(wait, self.tick)

    def finish(
        self, line: Line, holder: Holder, numbers: list[int], results: dict[int, bytes] | None
    ) -> list[int]:
        lost = line.finish_many(holder, numbers)
        for number in numbers:
            if number not in lost:
                self.done[number] = (results or {}).get(number)
        return lost

    def retry(self, line: Line, holder: Holder, number: int, delay_ms: int, reason: str) -> None:
        line.give_back(holder, number, delay_ms / 1000, reason)
        self.tick()

    def bury(self, line: Line, holder: Holder, number: int, reason: str) -> None:
        line.bury(holder, number, reason)

    def progress(self, line: Line, holder: Holder, number: int, told: object) -> None:
        line._held_by(holder, number)
        self.progresses.append((number, told))


class Link:
    """The stream between a worker and a home. ``delays`` draws what a message takes."""

    def __init__(
        self,
        side: WorkerSide,
        desk: Desk,
        lease: float,
        delays: Callable[[], float],
    ) -> None:
        self.side = side
        self.desk = desk
        self.delays = delays
        self.is_open = True
        self.room = NEVER
        self.messages: list[tuple[str, list[Any]]] = []
        self._up_at = self._down_at = 0.0
        self.source: Source | None = None
        self.customer: Customer = desk.counter.join(
            side.name, lease, self._down, lambda: self.room > 0
        )
        self.source = side.worker.add_source(desk.name, self._up)

    def _up(self, message: list[Any]) -> None:
        self.messages.append(("up", message))
        self._up_at = max(self._up_at, self.desk.world.time + self.delays())
        self.desk.world.at(self._up_at, lambda: self._at_home(message))

    def _at_home(self, message: list[Any]) -> None:
        if self.is_open:
            self.customer.on_message(message)
            self.desk.tick()

    def _down(self, message: list[Any]) -> None:
        self.messages.append(("down", message))
        if message[0] == JOBS:
            self.room -= 1
        self._down_at = max(self._down_at, self.desk.world.time + self.delays())
        self.desk.world.at(self._down_at, lambda: self._at_worker(message))

    def _at_worker(self, message: list[Any]) -> None:
        if self.is_open and self.source is not None:
            self.source.on_message(message)

    def widen(self, room: int) -> None:
        """The stream can take so many more."""
        self.room = room
        self.customer.resume()

    def cut(self, *, is_silent: bool = False) -> None:
        """Both ends learn of it, one after the other."""
        self.is_open = False
        if self.source is not None:
            self.side.worker.remove_source(self.source, "the stream ended")
        self.customer.leave(is_silent)
        self.desk.tick()

    def count(self, kind: int) -> int:
        return sum(message[0] == kind for _, message in self.messages)


class WorkerSide:
    """Runs jobs as a face does: ``concurrency`` at once, each for what ``takes`` draws. Without
    ``takes`` a test ends them itself."""

    def __init__(
        self,
        world: World,
        *,
        concurrency: int = 1,
        max_in_flight: int | None = 10,
        lease: float = 60.0,
        order: Order | None = None,
        rate: float | None = None,
        takes: Callable[[], float] | None = None,
        lead: float = 0.0,
        drift: float = 0.0,
        name: str = "worker",
    ) -> None:
        self.world = world
        self.name = name
        self.lease = lease
        self.clock = Clock(world, lead, drift)
        self.concurrency = concurrency
        self.takes = takes
        self.waiting: deque[Held] = deque()
        self.running: set[Held] = set()
        self.came: list[tuple[float, str, int]] = []
        self.fenced: list[tuple[float, Held]] = []
        self.warned: list[tuple[float, Held]] = []
        self.ends: Callable[[Held], None] = lambda held: self.worker.done(held)
        self.stops_after: Callable[[], float] = lambda: 0.0
        self.now = self.clock.now
        self.call_later = self.clock.call_later
        self.call_soon = self.clock.call_soon
        self.worker = Worker(
            self,
            concurrency=concurrency,
            max_in_flight=max_in_flight,
            lease=lease,
            order=order or Strict(["q"]),
            rate=rate,
        )

    def link(self, desk: Desk, delays: Callable[[], float] = lambda: 0.001) -> Link:
        return Link(self, desk, self.lease, delays)

    def hand(self, held: list[Held]) -> None:
        assert not any(one.is_lost or one.is_settled for one in held)
        for one in held:
            self.came.append((self.clock.now(), one.queue, one.number))
        self.waiting.extend(held)
        self._start()

    def _start(self) -> None:
        while self.takes is not None and self.waiting and len(self.running) < self.concurrency:
            held = self.waiting.popleft()
            self.running.add(held)
            self.world.at(self.world.time + self.takes(), lambda held=held: self._end(held))

    def _end(self, held: Held) -> None:
        if held in self.running:
            self.running.discard(held)
            if not held.is_lost:
                self.ends(held)
            self._start()

    def fence(self, held: Held, reason: str) -> None:
        assert held.is_lost
        self.fenced.append((self.world.time, held))
        if held in self.waiting:
            self.waiting.remove(held)
            self.worker.let_go(held)
            return

        def stop() -> None:
            self.running.discard(held)
            self.worker.let_go(held)
            self._start()

        self.world.at(self.world.time + self.stops_after(), stop)

    def warn(self, held: Held) -> None:
        self.warned.append((self.world.time, held))

    def take(self) -> Held:
        """The next of those that are here."""
        return self.waiting.popleft()


def is_refused(read: Callable[[object], None], message: object) -> bool:
    """Whether a message is a BadMessage; nothing else may be raised."""
    try:
        read(message)
    except BadMessage:
        return True
    return False
