"""A port for both ends of groupcast, on virtual time; what is said and sent is kept to look at."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from mesh.testing.clock import ProcessClock, SimClock
from mesh.wire.codec import Codec
from patterns.groupcast import CastReceiver, CastSender
from patterns.groupcast import casts as k
from patterns.names import group_subject, queue_pool
from patterns.subscription import Subscription
from tests.sim.runner import SimRunner
from tests.sim.waiter import SimWaiter

__all__ = ["BILLING", "CREW", "Node", "Port", "subscription"]

CREW = group_subject("crew")
BILLING = queue_pool("billing")


class Node:
    """A handle."""

    def __init__(self, name: str) -> None:
        self.id = name.encode()
        self.outstanding = 0
        self.peer = self
        self.name = name

    def __repr__(self) -> str:
        return self.name


class Port:
    """``patterns.port.CastPort``, and everything around a sender and a receiver.

    ``told`` are the control messages of all turns, ``sent`` the casts by member, with their
    numbers. Nothing is marked as sent before ``turn``.
    """

    def __init__(self, clock: SimClock | None = None) -> None:
        self.local = None
        self.clock = clock or SimClock()
        self.process_clock = ProcessClock(self.clock)
        self.runner = SimRunner(self.process_clock)
        self.codec = Codec()
        self.told: list[tuple[Any, ...]] = []
        self.sent: dict[Node, list[tuple[int, list[Any]]]] = {}
        self.numbers: dict[Node, int] = {}
        self.settled: dict[Node, set[int]] = {}
        self.unsent: dict[Node, int] = {}
        self.counts: Counter[str] = Counter()
        self.crew: list[Node] = []
        self.listeners: dict[tuple[str, str], tuple[Node, ...]] = {}
        """By pool and subject, who takes a queue group's copies."""
        self.weights: dict[Node, float] = {}
        self.doubted: set[Node] = set()
        self.preference: list[Node] = []
        """For every key, best first."""
        self.better: bytes | None = None
        self.paused = False
        self.eras: dict[Node, int] = {}
        self.grace = 0.0
        self._dirty: list[Any] = []
        self.sender = CastSender(self, lambda: self.grace)
        self.receiver = CastReceiver(self)

    # The port.

    def now(self) -> float:
        return self.clock.now()

    def call_later(self, delay: float, callback: Callable[[], None]) -> Any:
        return self.process_clock.call_later(delay, callback)

    def pack(self, value: Any) -> bytes:
        return self.codec.pack(value)

    def unpack(self, entry: bytes) -> Any:
        return self.codec.unpack_all(entry, 1)[0]

    def count(self, what: str, by: int = 1) -> None:
        self.counts[what] += by

    def mark(self, item: Any) -> None:
        item.is_dirty = True
        self._dirty.append(item)
        if len(self._dirty) == 1:
            self.process_clock.call_soon(self.turn)

    def is_paused(self) -> bool:
        return self.paused

    def tell(self, target: Node, *fields: Any) -> None:
        self.codec.pack(fields)
        self.told.append((target, *fields))

    def ask(self, target: Node, number: int) -> int:
        self.told.append((target, "ask", 1000 + number))
        return 1000 + number

    def send_cast(self, target: Node, entry: bytes) -> int:
        number = self.next_cast_number(target)
        self.numbers[target] = number + 1
        self.sent.setdefault(target, []).append((number, self.unpack(entry)))
        return number

    def mark_casts(self, target: Node) -> None: ...

    def send_casts(self, target: Node, entries: list[bytes]) -> int:
        first = self.next_cast_number(target)
        for entry in entries:
            self.send_cast(target, entry)
        return first

    def next_cast_number(self, target: Node) -> int:
        return self.numbers.get(target, 0)

    def sent_cast_number(self, target: Node) -> int:
        return self.next_cast_number(target) - self.unsent.get(target, 0)

    def drop_unsent_casts(self, target: Node) -> None:
        self.unsent.pop(target, None)

    def members(self, pool: str, subject: str | None) -> tuple[Node, ...]:
        if subject is not None:
            return self.listeners.get((pool, subject), ())
        return tuple(self.crew) if pool == CREW else ()

    def weight(self, target: Node) -> float:
        return self.weights.get(target, 1.0)

    def is_healthy(self, target: Node) -> bool:
        return target not in self.doubted

    def owners(self, pool: str, key: bytes) -> Sequence[Node]:
        return [node for node in self.preference if node in self.crew]

    def better_owner(self, pool: str, key: bytes) -> bytes | None:
        return self.better

    # For tests.

    def turn(self) -> None:
        """The end of a turn of the loop."""
        dirty, self._dirty = self._dirty, []
        for item in dirty:
            item.is_dirty = False
            item.flush()

    def run(self, seconds: float = 0.0) -> None:
        until = self.clock.now() + seconds
        while self.clock.step(until):
            pass

    def waiter(self) -> SimWaiter:
        return SimWaiter(self.now)

    def take_told(self, kind: int | str | None = None) -> list[tuple[Any, ...]]:
        """What was said since the last time; of one kind, and without its name, if asked for."""
        told, self.told = self.told, []
        if kind is None:
            return told
        self.told = [fields for fields in told if fields[1] != kind]
        return [(target, *fields) for target, what, *fields in told if what == kind]

    # The sender's side.

    def join(self, *names: str) -> list[Node]:
        """Nodes that come into the crew; they own keys in that order, each behind the earlier."""
        nodes = [Node(name) for name in names]
        self.crew += nodes
        self.preference += nodes
        self.sender.members_changed()
        # As the first groupcast does it: from then on grants of these are of interest.
        self.sender.lines.of_group(CREW)
        return nodes

    def grant(self, node: Node, total: int, pool: str = CREW, share: int = 1) -> None:
        """So much in all."""
        self.sender.on_grant(node, pool, share, total)

    def held(
        self,
        node: Node,
        *,
        since: int = 0,
        running: Sequence[int] = (),
        done: Sequence[int] = (),
        era: int = 1,
    ) -> None:
        """Its half of the link began anew, and this it still knows of our casts."""
        self.sender.link_opened(node)
        self.sender.on_held(node, era, since, k.ranges_of(running), k.ranges_of(done))

    def cast(
        self, data: Any = None, *, key: str | None = None, timeout: float = 5.0, pool: str = CREW
    ) -> SimWaiter:
        """A groupcast, the long way, as with a key or when no member has credit."""
        waiter = self.waiter()
        fields: tuple[Any, ...] = (pool, data) if key is None else (pool, data, {}, 0, key)
        form = None if key is None else key.encode()
        try:
            self.sender.wait(pool, self.pack(fields), form, timeout, waiter)
        except Exception as error:  # noqa: BLE001  the outcome, whatever it is
            waiter.set_exception(error)
        return waiter

    def cast_now(self, data: Any = None, *, group: str = "crew") -> Node | None:
        """A groupcast the short way; None when it must take the long one."""
        line = self.sender.groups.get(group)
        if line is None:
            return None
        node: Node | None = self.sender.cast(line, self.pack((line.pool, data)))
        return node

    def copy(self, data: Any, subject: str = "a.b", pool: str = BILLING) -> bool:
        """A queue group's copy of a publish."""
        entry = self.pack((pool, data, {}, 0, None, subject))
        return self.sender.copy(pool, subject, self.members(pool, subject), entry)

    def done(self, node: Node, *numbers: int) -> None:
        self.settled.setdefault(node, set()).update(numbers)
        self.sender.on_done(node, k.ranges_of(numbers))

    def back(self, node: Node, reason: int, *numbers: int, owner: Node | None = None) -> None:
        self.settled.setdefault(node, set()).update(numbers)
        self.sender.on_back(node, reason, k.ranges_of(numbers), owner)

    def at(self, data: Any) -> tuple[Node, int]:
        """Who has that cast now, and under which number. Raises LookupError."""
        for node, sent in self.sent.items():
            for number, entry in sent:
                if entry[1] == data and number not in self.settled.get(node, ()):
                    return node, number
        raise LookupError(f"{data} is in flight nowhere")

    def leave(self, node: Node) -> None:
        """It failed, or left."""
        self.crew.remove(node)
        self.sender.member_gone(node)

    def doubt(self, node: Node) -> None:
        self.doubted.add(node)
        self.sender.health_changed(node, False)

    def trust(self, node: Node) -> None:
        self.doubted.discard(node)
        self.sender.health_changed(node, True)

    def data_sent(self, node: Node) -> list[Any]:
        return [entry[1] for _, entry in self.sent.get(node, ())]

    def marks_sent(self, node: Node) -> list[bool]:
        """Whether each said that it may have been handled before."""
        entries = [entry for _, entry in self.sent.get(node, ())]
        return [bool(len(e) > 3 and e[3] & k.FLAG_REDELIVERED) for e in entries]

    # The member's side.

    def link(self, node: Node, epoch: int = 1) -> None:
        """Our half of a link to a sender began."""
        self.receiver.link_opened(node, epoch)
        self.eras[node] = self.take_told(k.HELD)[-1][1]

    def want(self, node: Node, wish: int, *, pool: str = CREW, number: int = 0) -> None:
        """A sender asks for credit, in the era that it was told last."""
        self.receiver.on_want(node, pool, wish, number, self.eras[node])
        self.run()

    def arrive(self, node: Node, *data: Any, first: int, epoch: int = 1) -> None:
        """A frame of plain casts."""
        self.receiver.on_casts(node, epoch, first, [[CREW, one] for one in data])
        self.run()

    def granted(self, node: Node) -> int:
        """What a sender has been granted in all, in the share that it has now."""
        totals = [total for target, _, _, total in self.take_told(k.GRANT) if target is node]
        return totals[-1] if totals else 0


def subscription(
    port: Port,
    handler: Callable[[Any], Any] | None = None,
    *,
    pattern: str = CREW,
    group: str | None = None,
    inline: bool = False,
    is_async: bool = False,
    concurrency: int = 1,
) -> Subscription:
    """A subscription of the port's node, known to its receiver."""
    made = Subscription(
        pattern,
        port.runner,
        handler=handler,
        inline=inline,
        is_async=is_async,
        concurrency=concurrency,
        group=group,
    )
    port.receiver.add(made)
    return made
