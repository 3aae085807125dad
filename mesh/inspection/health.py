"""Is a node fit for work? The rules, from facts to a verdict; nothing here looks at anything.

``ready``      it works; alone, too, if nobody else was heard of: a first node is no failure
``degraded``   it works, and something is the matter
``isolated``   it knows of others and reaches none of them: it or its network is cut off
``draining``   it takes no new work, as it was told
``blocked``    its event loop does not answer (who asks finds that out, not the node)

It takes more than that nobody answers: the first node of a mesh that starts may well hear of others
that do not answer yet. So *isolated* is one of these, for ``ISOLATED_AFTER``:

* nodes on two hosts at least that were linked, all there were, fell silent together: no goodbye,
  and no sign that their processes ended;
* others are there, and every one refuses this node: another key, a revoked certificate;
* a node for the network has no interface to use;
* every discovery source fails, and nobody was ever linked.

The first does not end readiness, though a supervisor should know of it: seen from here the end of
all others is the same, and then the one that is left must go on, or a power failure that leaves one
of three takes that one out of service as well.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

__all__ = ["PROBLEMS", "STATUSES", "Facts", "Health", "Status", "assess", "blocked"]

Status = Literal["ready", "degraded", "isolated", "draining", "blocked"]

STATUSES: tuple[Status, ...] = ("ready", "degraded", "isolated", "draining", "blocked")

ISOLATED_AFTER = 5.0
"""Seconds without any link: links that break are made again in less."""

SILENT_HOSTS = 2
"""That fell silent together. The only other machine may have lost its power."""

CUT_OFF = frozenset({"peers_refuse", "no_network", "discovery_all_failing"})
"""Problems of this node and of no other, so that it is of no use to anybody."""

IN_DOUBT_SHARE = 0.25
"""Of the peers, suspect or unresponsive. One of many is the matter of that one."""

LAG = 1.0
"""Seconds that the loop was late. From there on calls with usual deadlines fail."""

NEARLY_FULL = 0.8
"""Of a queue, beyond which the oldest give way."""

CERTIFICATE_DAYS = 7
"""Before its end, or a tenth of its time if that is less: time to make a new one."""

MAX_NAMED = 3
"""Names in one reason; the rest are counted."""


@dataclass(frozen=True, slots=True)
class Health:
    """How a node is.

    ``status``    "ready", "degraded", "isolated", "draining" or "blocked"
    ``reasons``   what is the matter and what to do, a line each; of a ready node what is worth
                  knowing, if anything is
    ``problems``  the same for programs: words of ``docs/observability.md``
    """

    status: Status
    reasons: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()

    @property
    def is_live(self) -> bool:
        """Whether its event loop answers. If not, and that lasts, only a restart helps."""
        return self.status != "blocked"

    @property
    def is_ready(self) -> bool:
        """Whether to give it work."""
        if self.status == "isolated":
            return CUT_OFF.isdisjoint(self.problems)
        return self.status in ("ready", "degraded")


@dataclass(frozen=True, slots=True)
class Facts:
    """What is looked at. Durations in seconds; peers by "name/12345678"."""

    is_draining: bool = False
    linked: int = 0
    """Peers that are members now,"""
    nodes: int = 0
    """and those of them that are no observers."""
    in_doubt: tuple[str, ...] = ()
    """Nodes that are suspect or unresponsive."""
    one_way: tuple[str, ...] = ()
    """Those to which the link has been up in one direction only for a while."""
    alone_for: float = 0.0
    """Since when nobody is linked, or since the start."""
    was_linked: bool = False
    """Whether anybody ever was."""
    silent_hosts: int = 0
    """On how many hosts the peers were that fell silent with the last ones."""
    unanswered: tuple[str, ...] = ()
    """Of those that discovery found and that are not linked: who does not answer,"""
    refusing: tuple[str, ...] = ()
    """and who does and refuses, with the reason."""
    strangers: int = 0
    """Others that were found: of another mesh, or with another key."""
    has_network: bool = True
    """Whether a node for the network has an interface."""
    failing: Mapping[str, str] = field(default_factory=dict)
    """Discovery sources that fail, and why."""
    sources: int = 0
    lag: float = 0.0
    """How late the loop was in the last minute or two."""
    losses: Mapping[str, int] = field(default_factory=dict)
    """Messages lost in the last minute, by counter."""
    full_peers: tuple[str, ...] = ()
    """For whom nearly as much waits as may."""
    full_subscriptions: tuple[str, ...] = ()
    descriptors: str | None = None
    """Why one more link cannot be opened."""
    certificate_left: float | None = None
    """Until this node's certificate ends; None without one."""
    certificate_time: float = 0.0
    """From its beginning to its end."""
    is_revoked: bool = False


Finding = tuple[str, str]
"""A problem, and its line."""

LOSSES = {
    "dropped_for_slow_peers": "messages were dropped for peers that are too slow, or away: "
    "publish less, or make them faster",
    "dropped_by_slow_subscriptions": "messages were dropped by subscriptions that are not read "
    "fast enough: raise concurrency= or buffer=, or add replicas with group=",
    "messages_missed": "messages to this node were lost on the way: it, or its network, is too "
    "slow for what is sent to it",
    "messages_lost": "messages that waited for peers were given up with them",
    "queue_copies_dropped": "messages to queue groups were dropped, their members do not keep up: "
    "add members",
    "casts_given_up": "groupcasts were given up: they were refused too often",
}
"""Counters whose growth is a loss of what users sent, and what to say of it."""

PROBLEMS = (
    "draining",
    "peers_silent",
    "peers_refuse",
    "no_network",
    "discovery_all_failing",
    "discovery_failing",
    "peers_unanswering",
    "peers_in_doubt",
    "one_way_links",
    "loop_lagging",
    "messages_lost",
    "queue_nearly_full",
    "descriptors_short",
    "certificate_revoked",
    "certificate_expired",
    "certificate_expiring",
    "loop_blocked",
)
"""All that ``Health.problems`` may say."""


def assess(facts: Facts) -> Health:
    """The verdict: of what is the matter the worst decides, and all of it is told."""
    isolating = tuple(_isolating(facts))
    degrading = tuple(_degrading(facts))
    found = isolating + degrading
    status: Status = "isolated" if isolating else "degraded" if degrading else "ready"
    if facts.is_draining:
        status = "draining"
        found = (("draining", "it drains: it takes no new work, and will close"), *found)
    reasons = [line for _, line in found]
    if not found and not facts.linked:
        reasons.append(_alone(facts))
    return Health(status, tuple(reasons), tuple(dict.fromkeys(problem for problem, _ in found)))


def blocked(seconds: float) -> Health:
    """What to say of a node whose loop did not answer for so long."""
    line = (
        f"its event loop did not answer in {seconds:g} s: a handler blocks it "
        "(inline=False runs it in a thread), or the machine is overloaded, or slept"
    )
    return Health("blocked", (line,), ("loop_blocked",))


def _isolating(facts: Facts) -> Iterator[Finding]:
    if facts.linked or facts.alone_for < ISOLATED_AFTER:
        return
    if not facts.has_network:
        yield (
            "no_network",
            "no network interface can be used: look at the cable and at interfaces=",
        )
    if facts.silent_hosts >= SILENT_HOSTS:
        yield (
            "peers_silent",
            f"all peers, on {facts.silent_hosts} hosts, fell silent together: this node is cut off "
            "from them; look at its network and its firewall",
        )
    if facts.refusing and not facts.unanswered:
        yield (
            "peers_refuse",
            f"nobody is linked, and all that answer refuse this node: {_some(facts.refusing)}; "
            "look at its key, its certificate and its version",
        )
    if facts.sources and len(facts.failing) == facts.sources and not facts.was_linked:
        yield (
            "discovery_all_failing",
            f"all discovery sources fail, so nobody can be found: {_causes(facts.failing)}",
        )


def _degrading(facts: Facts) -> Iterator[Finding]:
    if facts.failing:
        yield (
            "discovery_failing",
            f"discovery fails: {_causes(facts.failing)}; others may not be found by it",
        )
    if not facts.linked and facts.alone_for >= ISOLATED_AFTER and facts.unanswered:
        yield (
            "peers_unanswering",
            f"others were heard of, and do not answer: {_some(facts.unanswered)}; they may be "
            "gone; if not, look at the firewalls between",
        )
    if facts.nodes and len(facts.in_doubt) / facts.nodes >= IN_DOUBT_SHARE:
        yield (
            "peers_in_doubt",
            f"{len(facts.in_doubt)} of {facts.nodes} peers are suspect or unresponsive: "
            f"{_some(facts.in_doubt)}; look at them, and at the network between",
        )
    if facts.one_way:
        yield (
            "one_way_links",
            f"linked in one direction only: {_some(facts.one_way)}; a firewall or an address "
            "translation lets connections through one way",
        )
    if facts.lag >= LAG:
        yield (
            "loop_lagging",
            f"the event loop was {facts.lag:.1f} s late in the last minutes: a handler blocks it "
            "(inline=False runs it in a thread), or the machine is overloaded, or slept",
        )
    yield from _losing(facts)
    if facts.descriptors is not None:
        yield "descriptors_short", facts.descriptors
    yield from _certificate(facts)


def _losing(facts: Facts) -> Iterator[Finding]:
    for name, count in facts.losses.items():
        if count > 0:
            yield "messages_lost", f"in the last minute {count} {LOSSES[name]} ({name})"
    if facts.full_peers:
        yield (
            "queue_nearly_full",
            f"nearly as much waits as may for {_some(facts.full_peers)}; then the oldest is "
            "dropped: publish less, or make them faster",
        )
    if facts.full_subscriptions:
        yield (
            "queue_nearly_full",
            f"subscriptions are nearly full: {_some(facts.full_subscriptions)}; raise concurrency= "
            "or buffer=, or add replicas with group=",
        )


def _certificate(facts: Facts) -> Iterator[Finding]:
    left = facts.certificate_left
    if facts.is_revoked:
        yield (
            "certificate_revoked",
            "the certificate of this node is revoked: nobody links with it; make a new identity",
        )
    if left is None:
        return
    renew = "renew it: 'meshctl invite' there, 'meshctl join' here"
    if left <= 0:
        yield "certificate_expired", f"the certificate of this node has expired: {renew}"
    elif left < min(CERTIFICATE_DAYS * 86_400, facts.certificate_time / 10):
        yield (
            "certificate_expiring",
            f"the certificate of this node ends in {left / 3600:.0f} hours: {renew}",
        )


def _alone(facts: Facts) -> str:
    if facts.strangers:
        return (
            f"nobody is linked; {facts.strangers} others were heard of, of another mesh or with "
            "another key"
        )
    return "nobody is linked; others have left" if facts.was_linked else "nobody else was heard of"


def _some(names: tuple[str, ...]) -> str:
    shown = ", ".join(names[:MAX_NAMED])
    left = len(names) - MAX_NAMED
    return f"{shown} and {left} more" if left > 0 else shown


def _causes(failing: Mapping[str, str]) -> str:
    return "; ".join(f"{name}: {why}" for name, why in failing.items())
