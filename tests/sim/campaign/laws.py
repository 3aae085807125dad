"""The laws of each event and each step: what must hold in every run, whatever befalls its nodes.

Each law has a name in ``LAWS``, and counts how often its premise occurred: a campaign in which a
law had nothing to judge has not shown it. Some are judged at the event, some after every step,
the rest at the end, when all paths are back and all processes run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import mesh.links.batches as batches
import mesh.links.outbox as outbox_module
from mesh.engine import events as e
from patterns.errors import MeshError
from patterns.messages import Message
from tests.sim.campaign.history import CallMade, CallRun, Station, origin_of
from tests.sim.campaign.judge import Judge
from tests.sim.campaign.workload import GROUP, SERVICE
from tests.sim.groupcast import open_casts

if TYPE_CHECKING:
    from tests.sim.campaign.run import Run

__all__ = ["KEYS", "Laws", "owners_at", "view_of"]

EPSILON = 0.02
"""Seconds by which a deadline may be noticed late: a tick of ``patterns.deadlines``, and more."""

TOLD_BY = 0.5
"""Seconds after which a peer that lives knows that its link was hung up, by any path."""

DOUBT_ENDS = 9.0
"""Seconds: the suspicion itself, once more when a link was lost meanwhile, and the ticks."""

HEARD_BY = 2.5
"""Seconds in which a word of a living peer comes by an undisturbed path, slow ones included."""

KEYS = ("k0", "k1", "k2", "k3")


class Laws(Judge):
    """Judges one run."""

    def __init__(self, run: Run) -> None:
        super().__init__()
        self._run = run
        self._left: list[tuple[Station, float, set[Station]]] = []
        self.open_calls: dict[int, CallMade] = {}
        self.open_waits: list[Any] = []
        self._seen_waits = 0
        self._seen_calls = 0
        self.is_closing = False
        self._states: dict[tuple[str, str], str] = {}
        """What each node was told last of each peer, and when."""
        self._told_at: dict[tuple[str, str], float] = {}

    # At the event.

    def heard(self, station: Station, message: Message) -> None:
        """One of the handlers that hear everything has a message."""
        _, number = origin_of(message)
        stream = self._run.history.streams[message.sender.id, station.id]
        place = stream.places.get(number, -1)
        self.judge(
            "order",
            place >= stream.next,
            lambda: f"{station} heard {message} at place {place}, due is {stream.next}",
        )
        skipped, told = place - stream.next, stream.told
        if told is not None and (skipped or told):
            self.judge(
                "exact gaps",
                skipped == told,
                lambda: f"{station} missed {skipped} before {message}, it was told {told}",
            )
            self.judge(
                "exact gaps",
                message.missed == skipped,
                lambda: f"{message} says that {message.missed} are missing, not {skipped}",
            )
        stream.next, stream.told = place + 1, 0
        stream.lost += skipped
        for reader in station.readers:
            reader.lost += skipped
            if _matches(reader.subscription.pattern, message.subject):
                reader.due += 1

    def event(self, station: Station, event: e.Event) -> None:
        """A node was told something."""
        key = station.id, event.peer.id
        if isinstance(event, e.Gap):
            stream = self._run.history.streams[event.peer.id, station.id]
            if event.missed is None or stream.told is None:
                stream.told = None
            else:
                stream.told += event.missed
            return
        before = self._states.get(key, "")
        kind = type(event).__name__
        allowed = {
            "PeerJoined": ("", "PeerFailed"),
            "PeerUpdated": ("PeerJoined", "PeerSuspected", "PeerUnresponsive", "PeerRecovered"),
        }.get(kind, ("PeerJoined", "PeerSuspected", "PeerUnresponsive", "PeerRecovered"))
        self.judge("story", before in allowed, lambda: f"{station} was told {event} after {before}")
        if not before:
            # Whatever the other one sent before, thinking us joined, was before it was a peer here.
            stream = self._run.history.streams[event.peer.id, station.id]
            stream.told = None if stream.places else 0
        if kind != "PeerUpdated":
            self._states[key] = kind
            self._told_at[key] = self._run.sim.now
        if kind in ("PeerSuspected", "PeerUnresponsive", "PeerFailed"):
            self._judge_doubt(station, event)

    def _judge_doubt(self, station: Station, event: e.Event) -> None:
        other = next((s for s in self._run.all if s.id == event.peer.id), None)
        live = self._run.live
        if other is None or self.is_closing or not {station, other} <= live.keys():
            return
        was_met = max(station.touched_at, other.touched_at) >= 0.0
        self.judge("no false death", was_met, lambda: f"{station} was told {event}")

    def started(self, station: Station, number: int) -> CallRun:
        """A handler of a call begins."""
        run = CallRun(station, self._run.sim.now)
        made = self._run.history.calls.get(number)
        if made is None:
            return run  # a nested one, which has no number of its own
        made.runs.append(run)
        if not made.may_repeat:
            self.judge("at most once", len(made.runs) == 1, lambda: f"{made}: {made.runs}")
        arrived = made.arrived.get(station.node.name)
        if arrived is not None:
            self.judge(
                "not too late",
                run.start <= arrived + made.timeout + EPSILON,
                lambda: f"{made} began at {run.start:.3f} at {station}, it came at {arrived:.3f}",
            )
        if made.ended_at is not None and self._is_clean(made, station):
            late = run.start - made.ended_at
            self.judge("given up ends", late < HEARD_BY, lambda: f"{made} began {late} s after it")
        return run

    def cast_began(self, station: Station, message: Message) -> None:
        """A handler of a groupcast, or of a queue group's copy, begins."""
        key = message.sender.id, station.id
        sender = next((s for s in self._run.live if s.id == message.sender.id), None)
        if sender is None or sender is station:
            return
        is_stale = (
            self._states.get(key) == "PeerFailed"
            and self._run.sim.now > self._told_at[key] + TOLD_BY
            and not (station.is_impaired or sender.is_impaired)
        )
        self.judge("asked first", not is_stale, lambda: f"{station} began {message}")

    def _is_clean(self, made: CallMade, *stations: Station) -> bool:
        """Whether no fault met any of them since the call was made."""
        return all(
            station in self._run.live and not station.is_impaired and station.touched_at < made.at
            for station in (made.caller, *stations)
        )

    def left(self, station: Station) -> None:
        """It says goodbye now."""
        knowing = {
            other
            for other in self._run.live
            if other is not station and station.node.knows(other.node)
            if other.node.knows(station.node)
        }
        self._left.append((station, self._run.sim.now, knowing))

    # After every step.

    def check_step(self) -> None:
        if self.broken is not None:
            raise self.broken
        self.check_outcomes()
        self._check_bounds()
        self._check_goodbyes()
        self._check_doubts()
        self._check_rings()

    def check_outcomes(self) -> None:
        history, now = self._run.history, self._run.sim.now
        for made in list(history.calls.values())[self._seen_calls :]:
            self.open_calls[made.number] = made
        self._seen_calls = len(history.calls)
        for made in list(self.open_calls.values()):
            if self._has_outcome(made.caller, made.waiter, made.deadline, made):
                self.judge_end(made)
                if made.ended_at is None:
                    made.ended_at = made.waiter.at
            if made.waiter.done() and self._is_over(made, now):
                del self.open_calls[made.number]
        self.open_waits += history.waits[self._seen_waits :]
        self._seen_waits = len(history.waits)
        self.open_waits = [w for w in self.open_waits if not self._has_outcome_of(*w)]

    def _has_outcome_of(self, station: Station, what: str, deadline: float, waiter: Any) -> bool:
        return self._has_outcome(station, waiter, deadline, what) or station not in self._run.live

    def _has_outcome(self, station: Station, waiter: Any, deadline: float, what: Any) -> bool:
        if waiter.done():
            # SimWaiter raises when a second one comes.
            at = waiter.at
            limit = max(deadline, station.went_on_at) + EPSILON
            in_time = at is None or at <= limit
            self.judge("one outcome", in_time, lambda: f"{what}: at {at}, not by {limit}")
            return True
        if station in self._run.live and not station.stopped:
            due = max(deadline, station.went_on_at) + EPSILON
            is_late = self._run.sim.now > due
            self.judge("one outcome", not is_late, lambda: f"{what} at {station} has none by {due}")
        return False

    def judge_end(self, made: CallMade) -> None:
        waiter = made.waiter
        if waiter.at is None:
            return
        if waiter.error is None:
            self.judge(
                "right reply", waiter.value == made.number, lambda: f"{made}: {waiter.value}"
            )
        else:
            is_typed = isinstance(waiter.error, MeshError)
            self.judge("one outcome", is_typed, lambda: f"{made}: {waiter.error!r}")

    def _is_over(self, made: CallMade, now: float) -> bool:
        """Whether nothing of it runs; one that should not run any more breaks a law."""
        running = [r for r in made.runs if r.end is None and r.station in self._run.live]
        for run in running:
            if made.ended_at is not None and self._is_clean(made, run.station):
                self.judge(
                    "given up ends",
                    now - made.ended_at < HEARD_BY,
                    lambda: f"{made} ended at {made.ended_at:.3f} and runs at {run.station}",  # noqa: B023
                )
        return not running

    def _check_bounds(self) -> None:
        run = self._run
        for (id, pool), slots in run.workload.slots.items():
            station = next(s for s in run.live if s.id == id)
            count = open_casts(station.node, pool)
            if count:
                self.judge("slots", count <= slots, lambda: f"{station}: {count} of {slots}")  # noqa: B023
        for station in run.live:
            for session in station.node.engine._core.sessions.values():
                outbox = session.outbox
                window = outbox.window
                in_flight = window.sent - window.acked
                waits = outbox.queue.size
                if in_flight or waits:
                    fits = in_flight <= outbox_module.MAX_WINDOW_BYTES
                    bound = outbox_module.PENDING_BYTES + batches.BATCH_BYTES
                    fits = fits and waits <= bound
                    self.judge("window", fits, lambda: f"{station}: {in_flight}, {waits} wait")  # noqa: B023

    def _check_doubts(self) -> None:
        now = self._run.sim.now
        ids = {s.id: s for s in self._run.live if not s.stopped}
        for (id, peer), state in self._states.items():
            if state == "PeerSuspected" and id in ids:
                lasted = now - max(self._told_at[id, peer], ids[id].went_on_at)
                text = f"{ids[id]} suspects {peer} for {lasted} s"
                self.judge("doubt ends", lasted < DOUBT_ENDS, text)
        for station in ids.values():
            engine = station.node.engine
            for pending in engine._client._pending.values():
                handle: Any = pending.handle
                if handle is not None and handle is not engine._local:
                    text = f"{station}: {pending.method} at {handle.peer}"
                    self.judge("lost at once", handle.is_joined, text)

    def _check_goodbyes(self) -> None:
        run = self._run
        waiting, self._left = self._left, []
        for gone, at, knowing in waiting:
            if run.sim.now < at + 1.0:
                self._left.append((gone, at, knowing))
                continue
            for station in knowing:
                clean = not (station.is_impaired or gone.is_impaired)
                clean = clean and max(station.touched_at, gone.touched_at) < at - 10.0
                if station in run.live and clean and not station.stopped:
                    state = self._states.get((station.id, gone.id), "")
                    self.judge("goodbye", state == "PeerLeft", lambda: f"{station}: {gone} {state}")  # noqa: B023

    def _check_rings(self) -> None:
        """One key, of a service and of a group, of all nodes with the same view."""
        views: dict[Any, list[Station]] = {}
        for station in self._run.live:
            views.setdefault(view_of(station), []).append(station)
        key = KEYS[int(self._run.sim.now * 1000) % len(KEYS)]
        for alike in views.values():
            if len(alike) > 1:
                self.judge_rings(alike, key)

    def judge_rings(self, alike: list[Station], key: str) -> None:
        for name, group in ((SERVICE, None), (None, GROUP)):
            named = [owners_at(station, name, key, group) for station in alike]
            if named[0]:
                same = all(owners == named[0] for owners in named)
                self.judge("rings", same, lambda: f"owners of {key}: {dict(zip(alike, named))}")  # noqa: B023, B905


def owners_at(station: Station, name: str | None, key: str, group: str | None) -> list[str]:
    """Who owns the key by that node's view, best first."""
    try:
        return [peer.id for peer in station.node.engine.rings.owners(name, key, group=group)]
    except MeshError:
        return []


def view_of(station: Station) -> Any:
    """What that node knows of who is there and does what, itself included."""
    engine = station.node.engine
    return frozenset(
        (p.id, tuple(sorted(p.services)), tuple(sorted(p.groups)), p.instance, p.weight)
        for p in (engine.me, *engine.peers())
    )


def _matches(pattern: str, subject: str | None) -> bool:
    if subject is None:
        return False
    if pattern == "c.*":
        return subject.count(".") == 1
    return pattern in ("c.>", subject)
