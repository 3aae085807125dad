"""One bench of messages, from its first one to the sums.

In stages: a single message that shows who gets it, the warm-up, and what is measured. Each begins
with receivers that count from 0 and ends when all has come, or nothing comes any more.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from time import monotonic, monotonic_ns, sleep
from typing import Any

import click

import mesh
from mesh.cli import errors
from mesh.cli.bench import run_name
from mesh.cli.bench.core.receipt import Receipt
from mesh.cli.bench.core.schedule import Plan, Schedule
from mesh.cli.bench.load import Sent, on_loop
from mesh.cli.bench.part import LEASE_SECONDS, Kind, clock_name
from mesh.cli.text import count_of

__all__ = ["Load", "Run"]

RENEW_EVERY = LEASE_SECONDS / 6
"""Seconds between two questions to the parts while nothing but messages goes to them."""

SETTLE_SECONDS = 1.0
"""What no part has got for so long, after the last one was sent, is lost."""

LOOK_EVERY = 0.02

Load = Callable[[Sent, Schedule, int], Coroutine[Any, Any, None]]
"""Sends by a schedule, with numbers from the given one on."""


class Run:
    """A run and its parts.

    :param run: its id
    :param size: bytes of its messages
    :param timeout: seconds for a part to answer
    """

    def __init__(
        self,
        node: mesh.Node,
        kind: Kind,
        run: str,
        parts: Sequence[mesh.Peer],
        size: int,
        timeout: float,
    ) -> None:
        self.kind = kind
        self.size = size
        self.parts = list(parts)
        self.receipts: dict[str, Receipt] = {}
        """What each part has got in this stage, by its id; of one that is gone the last known."""
        self.gone: dict[str, str] = {}
        """Parts that answer no more, by id, and why."""
        self.sent = Sent()
        self.late = 0
        """How many were due and were not sent."""
        self.sent_again = 0
        """Groupcasts whose worker failed or left with them."""
        self.is_measured = False
        self.has_one_clock = True
        """Whether this process and all parts have the same clock."""
        self._node = node
        self._name = run_name(run)
        self._timeout = timeout
        self._next = 0

    def play(self, plan: Plan, load: Load) -> None:
        """The warm-up and the bench. What was measured is there even after Ctrl-C."""
        if plan.warm_up:
            self._stage(plan.warm_up_schedule, load)
        before = self._count_sent_again()
        self.is_measured = True
        try:
            self._stage(plan.schedule, load)
        finally:
            self.sent_again = self._count_sent_again() - before

    def probe(self, load: Load) -> int:
        """Send one message; returns to how many nodes it went.

        Raises ClickException when it did not arrive.
        """
        self._stage(lambda began: Schedule(began, rate=None, seconds=None, count=1), load)
        got = [receipt.received for receipt in self.receipts.values()]
        if not (all(got) if self.kind == "subscriber" else any(got)):
            why = "; ".join([*self.sent.errors.first.values(), *self.gone.values()])
            raise click.ClickException(
                f"the first message did not arrive{f': {why}' if why else ''}; "
                "'meshctl ping' shows whether all answer"
            )
        return self.sent.nodes

    @property
    def received(self) -> int:
        return sum(receipt.received for receipt in self.receipts.values())

    @property
    def is_acknowledged(self) -> bool:
        """Whether nothing that was sent still waits for its receiver."""
        return "Timeout" not in self.sent.errors.counts

    def gone_parts(self) -> list[tuple[mesh.Peer, str]]:
        """Who answers no more, and why."""
        return [(part, self.gone[part.id]) for part in self.parts if part.id in self.gone]

    def problem(self) -> str | None:
        """What was promised and did not hold; None when all did. Losses of ``publish`` may be."""
        got = list(self.receipts.values())
        broken = sum(receipt.broken for receipt in got)
        if broken:
            return f"{count_of(broken, 'message')} did not arrive as they were sent"
        if self.kind == "subscriber":
            disordered = sum(receipt.disordered for receipt in got)
            if disordered:
                return f"{count_of(disordered, 'message')} came twice or out of order"
            return None
        if not self.is_acknowledged:
            return "not all was acknowledged in time: it may be handled yet; --timeout gives longer"
        if not any(receipt.redelivered for receipt in got):
            each = range(self._next - self.sent.count, self._next)
            if (self.received, sum(r.numbers for r in got)) != (len(each), sum(each)):
                return f"{len(each)} were sent, {self.received} handled: not each of them once"
        return None

    def _stage(self, schedule_from: Callable[[int], Schedule], load: Load) -> None:
        for part in self.parts:
            clock = self._ask(part, "begin", self._next)
            self.has_one_clock = self.has_one_clock and clock in (None, clock_name())
        self._collect()
        began = monotonic_ns()
        schedule, sent = schedule_from(began), Sent(began=began, ended=began)
        self.sent = sent
        try:
            on_loop(self._node, load(sent, schedule, self._next), self._collect, RENEW_EVERY)
        finally:
            self.late = schedule.missed(monotonic_ns())
            self._next += sent.count
            self._settle()

    def _count_sent_again(self) -> int:
        return self._node.counters().get("casts_redelivered", 0)

    def _settle(self) -> None:
        before, deadline = -1, 0.0
        while True:
            self._collect()
            now = monotonic()
            if self._has_all_come():
                return
            if self.received != before:
                before, deadline = self.received, now + SETTLE_SECONDS
            elif now > deadline:
                return
            sleep(LOOK_EVERY)

    def _has_all_come(self) -> bool:
        there = [r for id, r in self.receipts.items() if id not in self.gone]
        got = [receipt.received + receipt.broken for receipt in there]
        due = self.sent.count
        return all(n >= due for n in got) if self.kind == "subscriber" else sum(got) >= due

    def _collect(self) -> None:
        for part in self.parts:
            packed = self._ask(part, "report")
            if packed is not None:
                self.receipts[part.id] = _receipt(part, packed)

    def _ask(self, part: mesh.Peer, method: str, *arguments: Any) -> Any:
        """Its answer; None when there is none, and from then on."""
        if part.id in self.gone:
            return None
        service = self._node.service(self._name, peer=part, timeout=self._timeout)
        try:
            return service[method](*arguments)
        except (mesh.CallTimeout, mesh.PeerLost, mesh.NoProvider) as error:
            self.gone[part.id] = errors.plain(error)
            return None


def _receipt(part: mesh.Peer, packed: Any) -> Receipt:
    try:
        return Receipt.unpacked(packed)
    except ValueError as error:
        raise click.ClickException(f"{part} answered, but {error}: another version?") from None
