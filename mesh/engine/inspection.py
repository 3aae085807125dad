"""What an engine can tell about itself: calls, subscriptions, groups and peers, as plain values.

One snapshot is for all who look: ``meshctl top``, ``doctor``, and metrics. It is made when somebody
asks and costs nothing otherwise; even the measuring of calls begins with the first question.
Everything here is bounded by what the engine itself bounds, and carries no payload.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from mesh.engine.core import Core
from mesh.engine.draining import Draining
from mesh.engine.liveness import Liveness
from mesh.engine.local import LocalSession
from mesh.engine.session import Session
from mesh.engine.totals import Totals
from mesh.engine.work_plane import WorkPlane
from mesh.membership import State
from patterns.names import group_of, is_reserved_method, queue_of
from patterns.port import Timer
from patterns.pubsub import PubSub
from patterns.rpc import RpcClient, RpcServer
from patterns.rpc.measures import Histogram, Measure, Measures, quantile

__all__ = ["MEASURE_FOR", "Inspection"]

MAX_LEFT = 16
"""Things that a drain waits for and that are told: each running method is one."""

MEASURE_FOR = 300.0
"""Seconds after the last question for which calls are measured: who looks, looks more often."""


class Inspection:
    """The questions. Every answer can be packed."""

    def __init__(
        self,
        core: Core,
        local: LocalSession,
        client: RpcClient,
        server: RpcServer,
        pubsub: PubSub,
        work: WorkPlane,
        draining: Draining,
        liveness: Liveness,
    ) -> None:
        self._core = core
        self._local = local
        self._client = client
        self._server = server
        self._pubsub = pubsub
        self._work = work
        self._draining = draining
        self._liveness = liveness
        self._always = False
        self._asked_at = 0.0
        self._timer: Timer | None = None

    @property
    def is_draining(self) -> bool:
        """Whether this node takes no new work any more."""
        return self._draining.has_begun

    def drain(self) -> dict[str, Any]:
        """How far a drain is, if one has begun."""
        draining = self._draining
        left = draining.left() if draining.has_begun and not draining.is_over else []
        more = [f"and {len(left) - MAX_LEFT} more"] if len(left) > MAX_LEFT else []
        return {
            "has_begun": draining.has_begun,
            "is_over": draining.is_over,
            "left": left[:MAX_LEFT] + more,
        }

    def measure(self, *, always: bool = False) -> tuple[Measures, Measures]:
        """Measure calls from now on, if that has not begun: those served, and those made.

        ``always``, or until nobody has asked for ``MEASURE_FOR``: then what was measured is
        forgotten, and calls cost what they did before.
        """
        server, client = self._server, self._client
        self._always |= always
        self._asked_at = self._core.clock.now()
        if self._timer is None and not self._always:
            self._timer = self._core.clock.call_later(MEASURE_FOR, self._stop_measuring)
        if server.measures is None:
            server.measures = Measures()
        if client.measures is None:
            client.measures = Measures()
        return server.measures, client.measures

    def _stop_measuring(self) -> None:
        self._timer = None
        left = self._asked_at + MEASURE_FOR - self._core.clock.now()
        if self._always:
            return
        if left > 0:
            self._timer = self._core.clock.call_later(left, self._stop_measuring)
        else:
            self._server.measures = self._client.measures = None

    def close(self) -> None:
        """No timer stays behind."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def methods(self) -> list[dict[str, Any]]:
        """What is served: how much runs and waits now, what was measured."""
        measures, _ = self.measure()
        waiting = self._server.waiting()
        served = {
            name: m for name, m in self._server.methods.items() if not is_reserved_method(name)
        }
        return [
            {
                "name": name,
                "running": method.running,
                "waiting": waiting[name],
                "concurrency": method.concurrency,
                **_measured(measures.by_method.get(name)),
            }
            for name, method in served.items()
        ]

    def calls(self) -> list[dict[str, Any]]:
        """What was called from here, by method."""
        _, measures = self.measure()
        in_flight = self._client.in_flight()
        names = dict.fromkeys((*measures.by_method, *in_flight))
        return [
            {
                "method": name,
                "in_flight": in_flight[name],
                **_measured(measures.by_method.get(name)),
            }
            for name in names
            if not is_reserved_method(name)
        ]

    def subscriptions(self) -> list[dict[str, Any]]:
        """What this node listens to, groups included."""
        return [
            {
                "pattern": s.pattern if group_of(s.pattern) is None else None,
                "group": group_of(s.pattern),
                "queue": s.group,
                "policy": s.policy,
                "waiting": s.queued,
                "buffer": s.buffer,
                "missed": s.missed,
                "is_handler": s.handler is not None,
            }
            for s in self._pubsub.subscriptions
        ]

    def groups(self) -> list[dict[str, Any]]:
        """What was sent to one of many from here, and is not acknowledged, by group."""
        return [
            {
                "group": group_of(pool),
                "queue": queue_of(pool),
                "unacknowledged": count,
                "bytes": size,
                "in_flight": in_flight,
                "waiting": max(0, count - in_flight) + room,
            }
            for pool, (count, size, in_flight, room) in self._work.sender.lines.kept().items()
        ]

    def peers(self) -> list[dict[str, Any]]:
        """All nodes that this one knows or hears of, and the state of their links."""
        out = self._client.outliers.out()
        return [self._peer(s, out.get(s.id, ())) for s in self._core.sessions.values()]

    def lag(self) -> dict[str, Any]:
        """How late the loop is, by the ticks of four a second."""
        lag = self._liveness.lag
        return {"last": lag.last, "recent": lag.recent, **_latency(lag.histogram)}

    def link_totals(self) -> dict[str, int]:
        """Messages of all peers there were: they only grow, whoever is forgotten."""
        totals = Totals()
        forgotten = self._core.forgotten
        totals.sent, totals.received = forgotten.sent, forgotten.received
        for session in self._core.sessions.values():
            totals.add(session)
        return {
            "sent": totals.sent,
            "received": totals.received,
            "casts_received": self._work.receiver.seen,
        }

    def totals(self) -> dict[str, Any]:
        """All of it in sums, of one size however large the mesh is: what ``meshctl top`` asks."""
        served, called = self.measure()
        traffic = Counter[str]()
        sessions = self._core.sessions.values()
        everybody = (self._local, *sessions)
        for session in everybody:
            traffic.update(_traffic(session))
        work = [m for m in self._server.methods.values() if not is_reserved_method(m.full_name)]
        return {
            "since": self._local.peer.since,
            "is_observer": self._core.config.is_observer,
            "drain": self.drain(),
            "linked": sum(session.is_joined for session in sessions),
            **traffic,
            "running": sum(method.running for method in work),
            "waiting": sum(self._server.waiting().values()),
            "casts_sent": sum(map(self._work.next_cast_number, everybody)),
            "casts_received": self._work.receiver.seen,
            "in_flight": sum(self._client.in_flight().values()),
            "unacknowledged": sum(kept[0] for kept in self._work.sender.lines.kept().values()),
            "queued": sum(one.queued for one in self._pubsub.subscriptions),
            "served": _together(served),
            "called": _together(called),
        }

    def own(self) -> dict[str, Any]:
        """The messages of this node to itself, as with a peer."""
        return _traffic(self._local)

    def _peer(self, session: Session, out: Iterable[str]) -> dict[str, Any]:
        peer, state = session.peer, _state(session)
        return {
            "id": peer.id,
            "name": peer.name,
            "instance": peer.instance,
            "address": session.address,
            "state": state,
            "since": peer.since,
            "is_observer": peer.is_observer,  # also when it has failed, or left
            "hears_us": session.link is not None,
            "is_heard": session.dial is not None,
            "is_joined": session.is_joined,
            "fell_silent": state == State.FAILED and session.may_return,
            "last_heard_seconds": self._core.clock.now() - session.last_heard,
            "calls_in_flight": session.outstanding,
            "ejected": list(out),
            **_traffic(session),
        }


def _state(session: Session) -> str:
    """As a member, also when it is one no more; "unknown" before it has joined."""
    if session.member is not None:
        return str(session.member.state)
    return "left" if session.has_left else "unknown"


def _traffic(session: Session) -> dict[str, Any]:
    outbox, inbox = session.outbox, session.inbox
    return {
        "sent": max(0, outbox.next_number - outbox.dropped),
        "received": inbox.received,
        "dropped": outbox.dropped,
        "waiting_bytes": outbox.queue.size + session.parcels.outgoing.size,
        "waiting_messages": sum(batch.count for _, batch in outbox.queue.batches),
    }


def _together(measures: Measures) -> dict[str, Any]:
    """All methods but those that look at nodes."""
    counted = [m for name, m in measures.by_method.items() if not is_reserved_method(name)]
    columns = zip(*(measure.latency.counts for measure in counted), strict=True)
    return {
        "succeeded": sum(measure.succeeded for measure in counted),
        "failed": sum(measure.failed for measure in counted),
        "counts": [sum(column) for column in columns],
    }


def _measured(measure: Measure | None) -> dict[str, Any]:
    if measure is None:
        measure = Measure()
    return {
        "succeeded": measure.succeeded,
        "failed": measure.failed,
        "latency": _latency(measure.latency),
    }


def _latency(latency: Histogram) -> dict[str, Any]:
    return {
        "counts": list(latency.counts),
        "total": max(0.0, latency.total),  # a sum of nothing but rounding may be below
        "largest": latency.largest,
        "p50": quantile(latency.counts, 0.5),
        "p99": quantile(latency.counts, 0.99),
    }
