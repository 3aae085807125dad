"""Looks after a node's health: collects the facts, remembers what takes time, tells of changes.

Every ``CHECK_EVERY`` seconds there is a check, so that a node that is cut off knows it, and says so
in its log, with nobody asking. A change of status is told when it has held for two checks, and an
improvement for longer: what flaps is one line, not many.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mesh.inspection.health import LOSSES, NEARLY_FULL, Facts, Health, Status, assess
from mesh.links import PENDING_BYTES
from mesh.logs import get_logger
from mesh.settings import Settings
from mesh.transport import descriptors
from patterns.port import Timer

if TYPE_CHECKING:
    from mesh.host import Host

__all__ = ["CHECK_EVERY", "Vitals"]

logger = get_logger("mesh.health")

CHECK_EVERY = 5.0
"""Seconds. A check takes some 10 µs for each peer."""

LOSSES_OVER = 60.0
"""Seconds that losses count for."""

WORSE_AFTER = 2
BETTER_AFTER = 6
"""Checks in a row with another status until it is told: 10 s, and 30 s of peace."""

FELL_TOGETHER = 60.0
"""Seconds between the first peer to be given up as silent and the last, when a cable is pulled:
with a thousand of them it takes a while."""

_LINKED = frozenset({"alive", "unresponsive", "suspect"})
_ORDER: tuple[Status, ...] = ("ready", "degraded", "isolated")


class Vitals:
    """The health of one node. All is on the loop's thread; a check never waits."""

    def __init__(self, host: Host, settings: Settings) -> None:
        self._host = host
        self._settings = settings
        self._clock = host.clock
        self._timer: Timer | None = None
        self._linked_at = self._clock.now()
        self._was_linked = False
        self._one_way: frozenset[str] = frozenset()
        """Whose link was up in one direction only at the last check."""
        self._losses: deque[tuple[float, dict[str, int]]] = deque()
        self._told: Status = "ready"
        self._seen: Status = "ready"
        self._times = 0
        """How many checks in a row have seen that."""

    def open(self) -> None:
        """Check from now on."""
        self._linked_at = self._clock.now()
        self._timer = self._clock.call_later(CHECK_EVERY, self._check)

    def close(self) -> None:
        """Check no more. Idempotent."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def health(self) -> Health:
        """How the node is now."""
        return assess(self._facts(self._host.engine.inspection.peers()))

    # Checks.

    def _check(self) -> None:
        self._timer = self._clock.call_later(CHECK_EVERY, self._check)
        now = self._clock.now()
        peers = self._host.engine.inspection.peers()
        if any(peer["state"] in _LINKED for peer in peers):
            self._linked_at = now
            self._was_linked = True
        health = assess(self._facts(peers))
        self._one_way = frozenset(peer["id"] for peer in peers if _is_one_way(peer))
        self._losses.append((now, self._lost_so_far()))
        while now - self._losses[0][0] > LOSSES_OVER:
            self._losses.popleft()
        self._consider(health)

    def _consider(self, health: Health) -> None:
        status = health.status
        if status == "draining":
            return  # somebody has told it to
        self._times = self._times + 1 if status == self._seen else 1
        self._seen = status
        is_worse = _ORDER.index(status) > _ORDER.index(self._told)
        if status != self._told and self._times >= (WORSE_AFTER if is_worse else BETTER_AFTER):
            self._told = status
            self._tell(health)

    def _tell(self, health: Health) -> None:
        # An observer is a tool, whose user looks at other things.
        is_bad = health.status != "ready" and not self._settings.is_observer
        logger.log(
            logging.WARNING if is_bad else logging.INFO,
            "the health of %s is %s now: %s",
            self._settings.title,
            health.status,
            "; ".join(health.reasons) or "all is well",
        )

    # Facts.

    def _facts(self, peers: Sequence[Mapping[str, Any]]) -> Facts:
        host, now = self._host, self._clock.now()
        linked = [peer for peer in peers if peer["state"] in _LINKED]
        # An observer is a tool, which somebody may stop, or shut with the lid of a laptop.
        nodes = [peer for peer in peers if not peer["is_observer"]]
        linked_nodes = [peer for peer in linked if not peer["is_observer"]]
        alone_for = 0.0 if linked else now - self._linked_at
        unanswered, refusing, strangers = ((), (), 0) if linked else host.finding.unlinked()
        left, time = self._certificate()
        credentials = host.credentials
        is_revoked = (
            credentials is not None
            and credentials.certificate is not None
            and credentials.revocations.revokes(credentials.certificate)
        )
        return Facts(
            is_draining=host.engine.inspection.is_draining,
            linked=len(linked),
            nodes=len(linked_nodes),
            in_doubt=tuple(_title(peer) for peer in linked_nodes if peer["state"] != "alive"),
            one_way=tuple(
                _title(peer)
                for peer in linked_nodes
                if _is_one_way(peer) and peer["id"] in self._one_way
            ),
            alone_for=alone_for,
            was_linked=self._was_linked or bool(linked),
            silent_hosts=0 if linked else self._silent_hosts(nodes, alone_for),
            unanswered=unanswered,
            refusing=refusing,
            strangers=strangers,
            has_network=host.finding.has_network,
            failing=host.finding.failing(),
            sources=host.finding.source_count,
            lag=host.engine.inspection.lag()["recent"],
            losses=self._lost_lately(),
            full_peers=tuple(
                _title(peer)
                for peer in peers
                if peer["waiting_bytes"] > NEARLY_FULL * PENDING_BYTES
            ),
            full_subscriptions=tuple(
                repr(one["pattern"] or one["group"])
                for one in host.engine.inspection.subscriptions()
                if one["policy"] == "drop_oldest" and one["waiting"] > NEARLY_FULL * one["buffer"]
            ),
            descriptors=None
            if self._host.is_simulated
            else descriptors.shortage(descriptors.FOR_LINK),
            certificate_left=left,
            certificate_time=time,
            is_revoked=is_revoked,
        )

    def _silent_hosts(self, peers: Sequence[Mapping[str, Any]], alone_for: float) -> int:
        """On how many hosts those were that fell silent when the last ones did."""
        wall = self._host.wall_clock()
        hosts = {
            peer["address"].rpartition(":")[0]
            for peer in peers
            if peer["fell_silent"]
            and peer["since"] is not None
            and (wall - peer["since"]).total_seconds() <= alone_for + FELL_TOGETHER
        }
        return len(hosts - {""})

    def _certificate(self) -> tuple[float | None, float]:
        credentials = self._host.credentials
        certificate = credentials.certificate if credentials is not None else None
        if certificate is None:
            return None, 0.0
        now = self._host.wall_clock().timestamp()
        return certificate.not_after - now, certificate.not_after - certificate.not_before

    def _lost_so_far(self) -> dict[str, int]:
        counters = self._host.counters
        return {name: counters.get(name, 0) for name in LOSSES}

    def _lost_lately(self) -> dict[str, int]:
        if not self._losses:
            return self._lost_so_far()
        before, now = self._losses[0][1], self._lost_so_far()
        return {name: count - before[name] for name, count in now.items() if count > before[name]}


def _title(peer: Mapping[str, Any]) -> str:
    return f"{peer['name']}/{peer['id'][:8]}"


def _is_one_way(peer: Mapping[str, Any]) -> bool:
    """Of one that is suspect this says nothing: a link that is given up ends one way first."""
    is_doubted = peer["state"] == "suspect"
    return bool(peer["is_joined"] and peer["hears_us"] != peer["is_heard"] and not is_doubted)
