"""What tests of groupcast look at: who handled what, and the books of an engine.

``Ledger`` records every run of every handler, with its beginning and end, and holds the laws that
need nothing else. ``books`` says what a node still keeps of casts; a node at rest keeps nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from random import Random
from typing import Any

from patterns.errors import Refuse
from patterns.messages import Message
from patterns.names import group_subject
from tests.sim.runner import sleep
from tests.sim.simulation import SimNode

__all__ = ["Ledger", "Run", "held_from", "open_casts", "unfinished"]


class Run:
    """One message in one handler. ``end`` is None while it runs, and when it never came to it."""

    def __init__(self, node: SimNode, message: Message, start: float) -> None:
        self.node = node
        self.data: Any = tuple(message.data) if isinstance(message.data, list) else message.data
        self.is_marked = message.redelivered
        self.start = start
        self.end: float | None = None
        self.is_refused = False
        self.is_left_behind = False
        """Whether its subscription was ended meanwhile: others here do not wait for it."""

    def __repr__(self) -> str:
        mark = " marked" if self.is_marked else ""
        end = "..." if self.end is None else f"{self.end:.4f}"
        return f"{self.data} at {self.node.name} {self.start:.4f}-{end}{mark}"


class Ledger:
    """All runs, in the order in which they began. Data must be hashable and unique."""

    def __init__(self) -> None:
        self.runs: list[Run] = []
        self.running: dict[tuple[SimNode, str], int] = defaultdict(int)
        self.most: dict[tuple[SimNode, str], int] = defaultdict(int)
        """The most runs at once, by node and what the handler is called."""
        self.refusals: dict[Any, int] = defaultdict(int)

    def handler(
        self,
        node: SimNode,
        name: str = "",
        seconds: Callable[[], float] | None = None,
        should_refuse: Callable[[Any], bool] = lambda data: False,
    ) -> Callable[[Message], Any]:
        """A handler of that node; a coroutine that takes ``seconds()``, or an instant one."""

        def begin(message: Message) -> Run:
            run = Run(node, message, node.simulation.now)
            self.runs.append(run)
            self.running[node, name] += 1
            self.most[node, name] = max(self.most[node, name], self.running[node, name])
            return run

        def end(run: Run) -> None:
            run.end = node.simulation.now
            self.running[node, name] -= 1
            if should_refuse(run.data):
                self.refusals[run.data] += 1
                run.is_refused = True
                raise Refuse

        if seconds is None:

            def handle(message: Message) -> None:
                end(begin(message))

            return handle

        async def handle_slowly(message: Message) -> None:
            run = begin(message)
            await sleep(seconds())
            end(run)

        return handle_slowly

    def of(self, data: Any) -> list[Run]:
        """The runs of one message that were not refused."""
        return [run for run in self.runs if run.data == data and not run.is_refused]

    def by_data(self) -> dict[Any, list[Run]]:
        runs: dict[Any, list[Run]] = defaultdict(list)
        for run in self.runs:
            if not run.is_refused:
                runs[run.data].append(run)
        return runs

    def check_marks(self) -> None:
        """Of k runs of a message at least k - 1 are marked."""
        for data, runs in self.by_data().items():
            unmarked = [run for run in runs if not run.is_marked]
            assert len(unmarked) <= 1, f"{data} was handled unmarked more than once: {runs}"

    def check_handled(self, accepted: Any) -> None:
        """Each of these was handled."""
        handled = self.by_data()
        lost = [data for data in accepted if data not in handled]
        assert not lost, f"{len(lost)} of {len(accepted)} were lost: {lost[:5]}"

    def check_key_order(self, place: Callable[[Any], tuple[Any, int] | None]) -> None:
        """Those of a key that were never marked ran one after the other, in order.

        ``place(data)`` is what must be in order, and the number there; None for what has none.
        """
        marked = {run.data for run in self.runs if run.is_marked}
        last: dict[Any, tuple[int, Run]] = {}
        for run in self.runs:
            placed = place(run.data)
            if placed is None or run.is_refused or run.data in marked:
                continue
            key, number = placed
            if key in last:
                before, earlier = last[key]
                assert number > before, f"{run} after {earlier}"
                is_over = earlier.end is not None and earlier.end <= run.start
                assert is_over or earlier.is_left_behind, f"{run} while {earlier}"
            last[key] = number, run


def pseudo_random_refusals(random: Random, most: int) -> Callable[[Any], bool]:
    """Refuses one in eight, and no message more than ``most`` times."""
    times: dict[Any, int] = defaultdict(int)

    def should_refuse(data: Any) -> bool:
        if random.random() > 0.125 or times[data] >= most:
            return False
        times[data] += 1
        return True

    return should_refuse


# Looking inside.


def open_casts(node: SimNode, pool: str) -> int:
    """How many casts of a pool that node has taken in and is not through with."""
    receiver = node.engine._work.receiver
    return sum(
        message.pool == pool
        for source in receiver._sources.values()
        for message in source.open.values()
    )


def capacity(node: SimNode, pool: str) -> int:
    made = node.engine._work.receiver._pools.get(pool)
    return made.capacity if made is not None else 0


def held_from(node: SimNode, group: str | None = None) -> int:
    """The credit that others hold there, in a group or in all pools."""
    pools = node.engine._work.receiver._pools
    wanted = pools.values() if group is None else [pools[group_subject(group)]]
    return sum(share.held for pool in wanted for share in pool.book.shares.values())


def unfinished(node: SimNode) -> dict[str, Any]:
    """Everything that a node at rest does not have; what it has, by name."""
    return {name: value for name, value in (*_of_sender(node), *_of_receiver(node)) if value}


def _of_sender(node: SimNode) -> list[tuple[str, Any]]:
    sender = node.engine._work.sender
    windows = sender.lines.windows.values()
    kept = [("unacked", sender.unacked), ("bytes", sum(window.bytes for window in windows))]
    kept += [("room", sum(len(window.room) for window in windows))]
    kept += [("callers", len(sender._callers)), ("keys", len(sender._keys._lines))]
    kept += [("waiting", sum(len(line.waiting) for line in sender.lines))]
    for handle, stream in sender._streams.items():
        at = f" at {handle.peer.name}"
        kept += [("in flight" + at, len(stream.in_flight)), ("bytes" + at, stream.bytes)]
        for account in stream.accounts.values():
            kept += [
                ("account in flight" + at, account.in_flight),
                ("credit" + at, account.available),
                ("keyed" + at, len(account.keyed)),
                ("lines" + at, len(account.lines)),
            ]
    return kept


def _of_receiver(node: SimNode) -> list[tuple[str, Any]]:
    receiver = node.engine._work.receiver
    kept: list[tuple[str, Any]] = []
    for handle, source in receiver._sources.items():
        of = f" from {handle.peer.name}"
        kept += [
            ("open" + of, len(source.open)),
            ("parked" + of, len(source.parked)),
            ("hold" + of, source.hold is not None),
            ("not reported" + of, len(source._done_now) + len(source.back)),
        ]
    for pool in receiver._pools.values():
        for handle, share in pool.book.shares.items():
            kept += [(f"held of {pool.name} by {handle.peer.name}", share.held)]
        for desk in pool.desks:
            worklist = desk.worklist
            kept += [("worklist", len(worklist) + worklist.running + len(worklist._behind))]
    return kept
