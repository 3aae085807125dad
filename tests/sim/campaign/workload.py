"""The verbs of a run. Each takes the dice of its step and acts on nodes that run.

A verb is a method here and a row in ``plan.VERBS``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from random import Random
from typing import TYPE_CHECKING, Any

from mesh.engine import events as e
from mesh.engine import sending
from patterns.errors import MeshError
from patterns.messages import Message
from patterns.names import group_subject, queue_pool
from patterns.rpc import CallOptions
from patterns.rpc.method import Method, is_async_callable
from patterns.subscription import Subscription
from tests.sim.campaign.history import CallMade, CallRun, Reader, Station
from tests.sim.runner import sleep

if TYPE_CHECKING:
    from tests.sim.campaign.run import Run

__all__ = ["GROUP", "HALL", "QUEUE", "SERVICE", "SLOW", "Workload"]

SUBJECTS = ("c.a", "c.b", "c.d.e")
HALL = "hall"
"""All nodes are in it; it is broadcast to."""

GROUP = "crew"
QUEUE = "billing"
SERVICE = "svc"
HEDGE = 0.02
"""Seconds until a call that may run twice, anywhere, goes to a second member as well."""
SLOW = 0.03
"""Above ``PREFETCH_SECONDS``, so that a handler as slow gets no more than it can run."""

METHODS = ("echo", "echo", "fail", "slow", "slow", "long", "nest", "mine")
"""``mine`` is not served by all; ``slow`` and ``nest`` have a line."""

BULK = "x" * 200
LARGE_EVERY = 8
"""Of the messages with ``BULK``: so many have a payload that leaves as a part of its own."""


class Workload:
    """Acts on the run; ``run.history`` keeps what it did."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self.members: dict[Subscription, Station] = {}
        self.slow: set[Subscription] = set()
        self.slots: dict[tuple[str, str], int] = {}
        """What a member of slow handlers may have at once, by node and pool."""

    # What every node has from its beginning.

    def equip(self, station: Station, random: Random) -> None:
        """Handlers that hear everything, and some services."""
        node, run = station.node, self._run

        def heard(message: Message) -> None:
            run.laws.heard(station, message)

        node.subscribe("c.>", heard, inline=True, echo=False)
        node.subscribe(group_subject(HALL), heard, inline=True, echo=False)
        node.on_event = lambda event: self._on_event(station, event)
        if random.random() < 0.6:
            self.serve(station)
        if random.random() < 0.5:
            self._enlist(station, random)
        server = node.engine.server
        on_requests = server.on_requests

        def arrived(caller: Any, route: Any, entries: Any, *arrived_at: float) -> int:
            for entry in entries:
                made = run.history.calls.get(entry[3][0])
                if made is not None:
                    made.arrived.setdefault(node.name, run.sim.now)
            return on_requests(caller, route, entries, *arrived_at)

        server.on_requests = arrived  # type: ignore[method-assign]

    def _on_event(self, station: Station, event: e.Event) -> None:
        self._run.laws.event(station, event)

    def serve(self, station: Station) -> None:
        """The methods of the service, with handlers that return, raise, take long and call."""
        run, node = self._run, station.node
        station.has_services = True

        def begin(number: int) -> CallRun:
            return run.laws.started(station, number)

        def echo(number: int) -> int:
            begin(number).end = run.sim.now
            return number

        def fail(number: int) -> int:
            begin(number).end = run.sim.now
            raise ValueError(str(number))

        async def take(number: int, seconds: float) -> int:
            entered = begin(number)
            try:
                await sleep(seconds)
            finally:
                entered.end = run.sim.now
            return number

        async def slow(number: int) -> int:
            return await take(number, 0.02 + number % 7 * 0.1)

        async def long(number: int) -> int:
            return await take(number, 20.0)

        async def nest(number: int) -> int:
            entered = begin(number)
            try:
                waiter = node.call(f"{SERVICE}.slow", -number, timeout=0.5)
                while not waiter.done():
                    await sleep(0.005)
            finally:
                entered.end = run.sim.now
            waiter.result()
            return number

        for function, concurrency in ((echo, 64), (fail, 64), (slow, 1), (long, 64), (nest, 2)):
            method = Method(function.__name__, function, concurrency=concurrency, inline=True)
            node.engine.serve(SERVICE, method)

    # Calls.

    def call(self, random: Random) -> None:
        station = self._run.pick_running(random)
        if station is None:
            return
        for _ in range(random.choice([1, 1, 3, 10, 25])):
            self._call(station, random)
            if random.random() < 0.2:
                self._run.pass_time(random.random() * 0.02)

    def call_in_line(self, random: Random) -> None:
        """More at once than the method serves."""
        station = self._run.pick_running(random)
        if station is not None:
            for _ in range(20):
                self.make_call(station, "slow", CallOptions(0.5))
            self._run.pass_time(0.1)

    def _call(self, station: Station, random: Random) -> None:
        run, engine = self._run, station.node.engine
        if station.stopped or station not in run.live:
            return
        name = random.choice(METHODS)
        timeout = random.choice([0.01, 0.05, 0.3, 1.0, 5.0])
        retry = random.random() < 0.4
        key = f"k{random.randrange(4)}" if random.random() < 0.3 else None
        target: Callable[[], Any] | None = None
        if key is None and random.random() < 0.15:
            other = run.pick(random)
            target = lambda: engine.session_of(other.id)  # noqa: E731
        wait = random.choice([None, None, 0.5])
        hedge = HEDGE if retry and key is None and target is None and timeout > HEDGE else None
        options = CallOptions(timeout, retry, target, wait, key=key, hedge=hedge)
        made = self.make_call(station, name, options)
        if made.id is not None and random.random() < 0.1:
            run.sim.clock.call_later(random.random() * timeout, lambda: self._give_up(made))

    def make_call(self, station: Station, name: str, options: CallOptions) -> CallMade:
        run, node = self._run, station.node
        waiter = node.waiter()
        made = CallMade(
            station,
            run.history.number(),
            name,
            run.sim.now,
            options.timeout,
            waiter,
            may_repeat=options.retry,
        )
        run.history.calls[made.number] = made
        try:
            made.id = node.engine.call(f"{SERVICE}.{name}", (made.number,), {}, options, waiter)
        except MeshError as error:
            waiter.set_exception(error)
        return made

    def _give_up(self, made: CallMade) -> None:
        station = made.caller
        if not made.waiter.done() and not station.stopped and station in self._run.live:
            made.waiter.is_cancelled = True
            made.ended_at = self._run.sim.now
            station.node.engine.cancel(made.id or 0)

    # Messages.

    def publish(self, random: Random) -> None:
        station = self._run.pick_running(random)
        for _ in range(random.choice([1, 5, 20, 60])):
            if station is None or station.stopped or station not in self._run.live:
                return
            self.publish_one(station, random.choice(SUBJECTS), random.choice(["", BULK]))
            if random.random() < 0.2:
                self._run.pass_time(random.random() * 0.003)

    def publish_one(self, station: Station, subject: str, text: str = "") -> list[str]:
        """Returns the ids of those that shall hear it."""
        run, node = self._run, station.node
        data = (node.name, "", run.history.number(), text)
        large = b""
        targets = self._note(station, node.engine.pubsub.route(subject), data[2])
        if node.engine.pubsub.queues.route(subject):
            run.history.copies[data] = station
        elif text and data[2] % LARGE_EVERY == 0:
            large = f"{node.name} {data[2]}".encode().ljust(sending.PAYLOAD_PART_BYTES)
        with self._absent(station, targets, data[2]):
            node.publish(subject, large or data)
        return targets

    @contextmanager
    def _absent(self, station: Station, targets: list[str], number: int) -> Iterator[None]:
        """Those for whom it is counted though they are away, besides the targets."""
        sessions = station.node.engine._core.sessions
        before = {id: session.outbox.queue.next_number for id, session in sessions.items()}
        yield
        for id, session in sessions.items():
            is_counted = session.outbox.queue.next_number > before.get(id, 0)
            if is_counted and id.hex() not in targets:
                self._run.history.streams[station.id, id.hex()].send(number)

    def _note(self, station: Station, targets: Any, number: int) -> list[str]:
        ids = [session.id.hex() for session in targets if session.id.hex() != station.id]
        for id in ids:
            self._run.history.streams[station.id, id].send(number)
        return ids

    def broadcast(self, random: Random) -> None:
        station = self._run.pick_running(random)
        if station is None:
            return
        engine = station.node.engine
        for _ in range(random.choice([1, 5, 20])):
            number = self._run.history.number()
            targets = self._note(station, engine.pubsub.group_route(HALL), number)
            with self._absent(station, targets, number):
                engine.broadcast(HALL, (station.node.name, "", number, ""), None)

    def send(self, random: Random) -> None:
        station = self._run.pick_running(random)
        other = self._run.pick(random)
        if station is None or other is station:
            return
        engine = station.node.engine
        for _ in range(random.choice([1, 5, 20])):
            number = self._run.history.number()
            try:
                session = engine.session_of(other.id)
            except MeshError:
                return
            targets: list[str] = []
            if engine.pubsub.is_subscribed(session, "c.a"):
                targets = self._note(station, [session], number)
            with self._absent(station, targets, number):
                engine.send_to(other.id, "c.a", (station.node.name, "", number, ""), None)

    # Slow receivers.

    def subscribe(self, random: Random) -> None:
        station = self._run.pick_running(random)
        if station is None or len(station.readers) >= 4:
            return
        subscription = station.node.subscribe(
            random.choice(["c.>", "c.a", "c.*"]), buffer=random.choice([3, 20, 1000]), echo=False
        )
        reader = Reader(subscription)
        if random.random() < 0.4:
            subscription.on_ready = lambda: self._read_soon(station, reader)
        station.readers.append(reader)

    def _read_soon(self, station: Station, reader: Reader) -> None:
        subscription = reader.subscription
        subscription.on_ready = None

        def read() -> None:
            if subscription.on_ready is not None:
                return
            subscription.on_ready = lambda: self._read_soon(station, reader)
            if reader.take():
                station.node.process.clock.call_later(0.02, read)

        station.node.process.clock.call_later(0.01, read)

    def unsubscribe(self, random: Random) -> None:
        station = self._run.pick_running(random)
        if station is not None and station.readers:
            reader = station.readers.pop(random.randrange(len(station.readers)))
            reader.subscription.on_ready = None
            station.node.engine.unsubscribe(reader.subscription)

    def read(self, random: Random) -> None:
        station = self._run.pick_running(random)
        for reader in station.readers if station is not None else ():
            reader.take()

    # Casts.

    def groupcast(self, random: Random) -> None:
        station = self._run.pick_running(random)
        for _ in range(random.choice([1, 5, 20, 60])):
            if station is None or station.stopped or station not in self._run.live:
                return
            self.cast_one(station, random)
            if random.random() < 0.2:
                self._run.pass_time(random.random() * 0.003)

    def cast_one(self, station: Station, random: Random) -> None:
        run, node = self._run, station.node
        key = f"k{random.randrange(4)}" if random.random() < 0.4 else ""
        data = (node.name, key, run.history.number())
        timeout = random.choice([0.0, 0.05, 1.0, 30.0])
        waiter = node.groupcast(GROUP, data, key=key or None, timeout=timeout)
        run.history.casts[data] = (station, run.sim.now + timeout, waiter)
        if not waiter.done() and random.random() < 0.05:
            node.abandon(waiter)

    def enlist(self, random: Random) -> None:
        station = self._run.pick_running(random)
        if station is not None:
            self._enlist(station, random)

    def _enlist(self, station: Station, random: Random) -> None:
        """Let it take part in the group or in the queue group."""
        node, run = station.node, self._run
        is_queue = random.random() < 0.3
        pool = queue_pool(QUEUE) if is_queue else group_subject(GROUP)
        concurrency = random.choice([1, 1, 1, 2, 4])
        kind = random.choice(["inline", "plain", "fast", "slow", "slow"])
        pace = random.choice([0.0, 0.0005, 0.004]) if kind == "fast" else random.choice([SLOW, 0.1])
        pseudo = Random(random.getrandbits(32))
        seconds: Callable[[], float] | None = None
        if kind == "fast":
            seconds = lambda: pace * pseudo.random()  # noqa: E731
        elif kind == "slow":
            seconds = lambda: pace * (1 + pseudo.random())  # noqa: E731
        handler = self.observed(
            station, run.ledger.handler(node, pool, seconds, self._should_refuse)
        )
        options: dict[str, Any] = {"inline": kind == "inline", "concurrency": concurrency}
        if is_queue:
            made = node.subscribe(
                random.choice(["c.>", "c.*", "c.a"]), handler, group=QUEUE, **options
            )
        else:
            made = node.member(GROUP, handler, **options)
        self.members[made] = station
        if kind == "slow":
            self.slow.add(made)
        slots = concurrency if kind == "slow" else 1_000_000
        self.slots[station.id, pool] = self.slots.get((station.id, pool), 0) + slots

    def observed(self, station: Station, handler: Callable[[Message], Any]) -> Callable[..., Any]:
        """The handler, and a look at whether it may begin."""
        laws = self._run.laws
        if not is_async_callable(handler):

            def handle(message: Message) -> Any:
                laws.cast_began(station, message)
                return handler(message)

            return handle

        async def handle_slowly(message: Message) -> Any:
            laws.cast_began(station, message)
            return await handler(message)

        return handle_slowly

    def _should_refuse(self, data: Any) -> bool:
        """Not those with a key: what is passed on loses its place in the order."""
        if data[1] or data[2] % 8:
            return False
        return self._run.ledger.refusals[data] < 2

    def hire(self) -> None:
        """Somebody must be there in the end, for all subjects."""
        station = next(iter(self._run.live))
        handler = self._run.ledger.handler(station.node)
        if not any(s.group is None for s in self.members):
            self.members[station.node.member(GROUP, handler)] = station
        self.members[station.node.subscribe("c.>", handler, group=QUEUE)] = station
        if not any(other.has_services for other in self._run.live):
            self.serve(station)

    def dismiss(self, random: Random) -> None:
        members = [s for s, station in self.members.items() if not station.stopped]
        if members:
            one = random.choice(members)
            node = self.members.pop(one).node
            node.engine.unsubscribe(one)
            for run in self._run.ledger.runs:
                run.is_left_behind |= run.node is node and run.end is None

    def forget(self, station: Station) -> None:
        """It has ended."""
        self.members = {s: at for s, at in self.members.items() if at is not station}
        self.slots = {key: slots for key, slots in self.slots.items() if key[0] != station.id}

    # Others.

    def ping(self, random: Random) -> None:
        station = self._run.pick_running(random)
        if station is not None:
            timeout = random.choice([0.01, 0.5, 5.0])
            waiter = station.node.ping(self._run.pick(random).node, timeout)
            self._wait(station, "ping", timeout, waiter)

    def flush(self, random: Random) -> None:
        station = self._run.pick_running(random)
        if station is not None:
            timeout = random.choice([0.05, 1.0, 5.0])
            self._wait(station, "flush", timeout, station.node.flush(timeout))
            self._wait(station, "confirm", timeout, station.node.confirm(timeout))

    def _wait(self, station: Station, what: str, timeout: float, waiter: Any) -> None:
        self._run.history.waits.append((station, what, self._run.sim.now + timeout, waiter))
