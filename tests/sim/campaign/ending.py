"""The end of a run: all is healed, and everything must be right again, and then quiet."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from mesh.engine.exchange import DIFFERENCE_PAUSE
from patterns.names import group_subject
from patterns.rpc import CallOptions
from tests.sim.campaign.history import CallMade, Station
from tests.sim.campaign.laws import KEYS, Laws, owners_at, view_of
from tests.sim.campaign.workload import GROUP, SERVICE
from tests.sim.groupcast import held_from, unfinished
from tests.sim.simulation import all_know_all

if TYPE_CHECKING:
    from tests.sim.campaign.run import Run

__all__ = ["AGREE_WITHIN", "Ending"]

AGREE_WITHIN = 12.0
AGREE_BY_EXCHANGE = AGREE_WITHIN + DIFFERENCE_PAUSE
"""Without discovery, two that could not meet when they were told of each other are told again only
after a pause."""

GONE_WITHIN = 8.0
REACH_WITHIN = 3.0
LONGEST = 25.0
"""Seconds that the longest handler takes, whose caller may have died, and a few."""

SETTLE_WITHIN = 300.0
QUIET = 4.0
"""Seconds after which unused credit is back: it goes after one to two, and may take a new link."""

STRANGE = ("casts_beyond_credit", "bad_returns", "link_resets", "bad_frames", "bad_entries",
           "malformed_messages")  # fmt: skip
"""Not ``bad_acks``: when the newest of two connections ends, the older begins anew under the same
number, and what was said of its first time may still come."""


class Ending:
    """The laws that are judged at the end."""

    def __init__(self, run: Run, laws: Laws) -> None:
        self._run = run
        self._laws = laws

    def check(self) -> None:
        self._check_convergence()
        self._check_settled()
        self._check_streams()
        self._check_casts()
        self._check_progress()
        self._check_quiet()
        self._check_capacity()
        self._check_close()

    @property
    def _nodes(self) -> list[Any]:
        return [station.node for station in self._run.live]

    def _check_convergence(self) -> None:
        sim, nodes = self._run.sim, self._nodes
        within = AGREE_WITHIN if self._run.plan.has_discovery else AGREE_BY_EXCHANGE
        self._until("convergence", lambda: all_know_all(nodes), within, self._views)
        sim.run(GONE_WITHIN)
        for node in nodes:
            others = {other.id: "alive" for other in nodes if other is not node}
            self._laws.judge("no ghosts", node.peers() == others, self._views)
        self._laws.check_step()
        confirmations = [node.confirm() for node in nodes]
        sim.run(2.0)
        missing = [waiter.result() if waiter.done() else "no answer" for waiter in confirmations]
        self._laws.judge("convergence", missing == [[] for _ in nodes], f"unconfirmed: {missing}")
        views = {view_of(station) for station in self._run.live}
        self._laws.judge("rings", len(views) == 1, lambda: f"the views differ: {views}")
        for key in KEYS:
            self._laws.judge_rings(list(self._run.live), key)

    def _views(self) -> str:
        names = {station.id: station.node.name for station in self._run.all}
        return str(
            {n.name: {names.get(i, i): s for i, s in n.peers().items()} for n in self._nodes}
        )

    def _until(
        self, law: str, holds: Callable[[], bool], within: float, text: Callable[[], str]
    ) -> None:
        try:
            self._run.sim.until(holds, within)
        except AssertionError:
            raise self._laws.broke(law, f"not in {within} s: {text()}") from None
        self._laws.premises[law] += 1

    def _check_settled(self) -> None:
        self._await_settled()
        self._run.sim.run(6.0)
        self._laws.check_outcomes()
        self._laws.judge(
            "one outcome", not self._laws.open_waits, lambda: f"open: {self._laws.open_waits}"
        )

    def _await_settled(self) -> None:
        def left() -> str:
            return str({node.name: unfinished(node) for node in self._nodes})

        nodes = self._nodes
        self._until("settled", lambda: not any(map(unfinished, nodes)), SETTLE_WITHIN, left)

    def _check_streams(self) -> None:
        """A last message of everybody to everybody tells what is missing."""
        run = self._run
        for station in run.live:
            for reader in station.readers:
                reader.read_all()
        for _ in range(3):
            for station in run.live:
                targets = run.workload.publish_one(station, "c.a")
                self._laws.judge(
                    "progress", len(targets) == len(run.live) - 1, f"{station}: {targets}"
                )
            run.sim.run(0.05)
        streams = run.history.streams

        def are_heard() -> bool:
            return all(
                streams[a.id, b.id].next == len(streams[a.id, b.id].places)
                for a in run.live
                for b in run.live
                if a is not b
            )

        self._until("progress", are_heard, REACH_WITHIN, lambda: self._unheard())
        for station in run.live:
            self._judge_drops(station)
            for reader in station.readers:
                self._judge_reader(station, reader)
        self._await_settled()

    def _unheard(self) -> str:
        streams, live = self._run.history.streams, self._run.live
        return ", ".join(
            f"{a} to {b}: {streams[a.id, b.id].next} of {len(streams[a.id, b.id].places)}"
            for a in live
            for b in live
            if streams[a.id, b.id].next != len(streams[a.id, b.id].places)
        )

    def _judge_drops(self, station: Station) -> None:
        for other in self._run.live:
            session = station.node.engine._core.sessions.get(other.node.config.id)
            if session is not None and session.outbox.dropped:
                lost = self._run.history.streams[station.id, other.id].lost
                dropped = session.outbox.dropped
                self._laws.judge(
                    "drops are missed", dropped <= lost, f"{station} to {other}: {dropped} > {lost}"
                )

    def _judge_reader(self, station: Station, reader: Any) -> None:
        self._laws.judge("order", not reader.disorder, reader.disorder)
        had = reader.taken + reader.subscription.missed
        # What senders dropped counts as missed too; what was lost on the way is nobody's.
        self._laws.judge(
            "slow readers",
            reader.due <= had <= reader.due + reader.lost,
            f"{station}: {reader.taken} read, {had} with the missed, of {reader.due}",
        )

    def _check_casts(self) -> None:
        run, ledger = self._run, self._run.ledger
        live = {station.node.name for station in run.live}
        accepted = [
            data
            for data, (_, _, waiter) in run.history.casts.items()
            if waiter.at is not None and waiter.error is None
        ]
        accepted += run.history.copies
        due = [data for data in accepted if data[0] in live]
        if due:
            self._hold("handled", lambda: ledger.check_handled(due))
        self._hold("marked", ledger.check_marks)
        # Of a sender that is gone nobody repeats what was cut short, so others seem to overlap.
        self._hold("key order", lambda: ledger.check_key_order(lambda d: _place(d, live)))
        if not any(station.touched_at >= 0.0 for station in run.all) and len(run.all) == len(live):
            for data, runs in ledger.by_data().items():
                is_once = len(runs) == 1 or any(r.is_left_behind for r in runs)
                self._laws.judge("not again", is_once, lambda: f"{data}: {runs}")  # noqa: B023

    def _hold(self, law: str, check: Callable[[], None]) -> None:
        self._laws.premises[law] += bool(self._run.ledger.runs)
        try:
            check()
        except AssertionError as error:
            raise self._laws.broke(law, str(error)) from None

    def _check_progress(self) -> None:
        """Everybody calls everybody that serves, and the owner of a key."""
        run = self._run
        providers = [station for station in run.live if station.has_services]
        for key in KEYS[:2]:
            owner = owners_at(next(iter(run.live)), SERVICE, key, None)[0]
            for station in run.live:
                made = run.workload.make_call(station, "echo", CallOptions(5.0, key=key))
                self._expect(made)
                names = [r.station.id for r in made.runs]
                self._laws.judge("owner serves", names == [owner], f"{made}: {names}, not {owner}")
        for station in run.live:
            for other in providers[:3]:
                engine = station.node.engine
                target = lambda: engine.session_of(other.id)  # noqa: B023, E731
                if other is station:
                    target = lambda: engine._local  # noqa: B023, E731
                self._expect(
                    run.workload.make_call(station, "echo", CallOptions(5.0, target=target))
                )
        # More at once than it serves: those in line have their turn.
        in_line = [
            run.workload.make_call(next(iter(run.live)), "slow", CallOptions(30.0, key="k0"))
            for _ in range(3)
        ]
        for made in in_line:
            self._expect(made)
        for station in run.live:
            waiter = station.node.groupcast(
                GROUP, (station.node.name, "", run.history.number()), timeout=20.0
            )
            self._until("progress", waiter.done, 20.0, lambda: f"a groupcast of {station} waits")  # noqa: B023
            self._laws.judge("progress", waiter.error is None, lambda: repr(waiter.error))  # noqa: B023
        self._await_settled()

    def _expect(self, made: CallMade) -> None:
        self._until("progress", made.waiter.done, REACH_WITHIN, lambda: f"{made} waits")
        error = made.waiter.error
        self._laws.judge("progress", error is None, lambda: f"{made}: {error!r}")
        self._laws.judge_end(made)

    def _check_quiet(self) -> None:
        self._run.sim.run(QUIET)
        for node in self._nodes:
            server = node.engine.server
            self._until("settled", lambda: not len(server), LONGEST, lambda: f"{node.name} serves")  # noqa: B023
            hosts = {other.host for other in self._nodes}
            lanes = [*node.transport.lanes, *node.transport.work_lanes]
            dead = [a for a in (x.connector.address for x in lanes) if a.split(":")[0] not in hosts]
            self._laws.judge("no ghosts", not dead, lambda: f"{node.name} has lanes to {dead}")  # noqa: B023
            owed = unfinished(node), held_from(node), len(node.engine._client)
            self._laws.judge("settled", owed == ({}, 0, 0), f"{node.name}: {owed}")
            demand = node.engine._work.sender._demand
            self._laws.judge("settled", demand._timer is None, f"{node.name} is not at rest")
            strange = {what: n for what, n in node.engine.counters.items() if what in STRANGE}
            self._laws.judge("nothing strange", not strange, f"{node.name} counts {strange}")

    def _check_capacity(self) -> None:
        """A burst uses every slot of the slow ones, and only these."""
        run, ledger = self._run, self._run.ledger
        members = [(s, at) for s, at in run.workload.members.items() if s.group is None]
        slots = sum(s.concurrency for s, _ in members)
        if slots > 8 or not all(s in run.workload.slow for s, _ in members):
            return
        ledger.most.clear()
        sender = next(iter(run.live)).node
        waiters = [
            sender.groupcast(GROUP, (sender.name, "", run.history.number()), timeout=60.0)
            for _ in range(6 * slots)
        ]
        self._until(
            "settled", lambda: all(w.done() for w in waiters), SETTLE_WITHIN, lambda: "a burst"
        )
        self._await_settled()
        for node in {at.node for _, at in members}:
            due = sum(s.concurrency for s, at in members if at.node is node)
            most = ledger.most[node, group_subject(GROUP)]
            self._laws.judge(
                "capacity", most == due, f"{node.name} ran {most} at once, it can run {due}"
            )

    def _check_close(self) -> None:
        run = self._run
        for station in run.live:
            # What runs for a minute must end with its node.
            run.workload.make_call(station, "long", CallOptions(60.0))
        run.sim.run(0.2)
        run.is_discovering, self._laws.is_closing = False, True
        stations = list(run.live)
        for station in stations[1::2]:
            station.node.leave()
        run.sim.run(0.5)
        for station in stations[::2]:
            station.node.engine.close()
        run.sim.run(1.0)
        for station in stations:
            self._judge_closed(station)

    def _judge_closed(self, station: Station) -> None:
        node = station.node
        left: dict[str, Any] = {
            "timers": [
                getattr(timer._callback, "__qualname__", str(timer._callback))
                for timer in self._run.sim.clock.pending_of(node.process.clock)
                if "_hint_at_seeds" not in str(timer._callback)
            ],
            "connections": [
                pipe.connector.address
                for pipe in self._run.sim.network.pipes
                if pipe.connector.process is node.process or pipe.server.process is node.process
            ],
            "dials": list(node.transport.dials),
            "lanes": [*node.transport.lanes, *node.transport.work_lanes],
            "calls": len(node.engine._client) + len(node.engine.server),
            "waits": [
                made for made in self._laws.open_calls.values()
                if made.caller is station and not made.waiter.done()
            ],
        }  # fmt: skip
        found = {what: value for what, value in left.items() if value}
        self._laws.judge("clean end", not found, lambda: f"{station} leaves {found}")


def _place(data: Any, senders: set[str]) -> tuple[Any, int] | None:
    """Its sender and key, and its place there; None without a key, or of another sender."""
    return ((data[0], data[1]), data[2]) if data[1] and data[0] in senders else None
