"""From the state of nodes to families of metrics. Nothing here knows of Prometheus' library.

A *snapshot* is what ``mesh.inspection`` says of one node. Several nodes of one process make one set
of families together, told apart by the labels ``mesh`` and ``node``.

Rules: names end in their unit, counters in ``_total``, and every family is there from the start.
Label sets are bounded: ``MAX_LISTED`` of a kind are told one by one, the others together as
``OTHER``. Peers are told one by one while they are members: who is restarted is a new peer, and
the series of the old one end with it. The traffic of those beyond the bound, or gone, is in the
totals of the node only: a sum over nodes that come and go is no counter.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from mesh.inspection.health import PROBLEMS, STATUSES
from mesh.metrics.counted import COUNTED
from mesh.metrics.of_queues import QUEUE_FAMILIES
from patterns.rpc.measures import BOUNDS, OTHERS

__all__ = ["BUCKETS", "FAMILIES", "MAX_LISTED", "OTHER", "Family", "Filled", "Snapshot", "fill"]

MAX_LISTED = 100
"""Peers, and subscriptions and groups, with series of their own: each has some ten."""

MAX_METHODS = 256
"""Methods with series of their own, as many as are measured."""

OTHER = "other"
"""The label of all beyond that, together."""

BUCKETS = (*(f"{bound:.6g}" for bound in BOUNDS[::2]), "+Inf")
"""Upper bounds of histograms, in seconds: every second one of those that are counted."""

PARTS = ("node", "process", "counters", "methods", "calls", "subscriptions", "groups", "peers",
         "discovery", "health", "queues")  # fmt: skip
"""What is asked of a node for its metrics."""

LINKED = ("alive", "unresponsive", "suspect")
STATES = (*LINKED, "failed", "left", "unknown")

State = Mapping[str, Any]
Labels = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Family:
    """A name, as it is in queries, and what it means. ``labels`` come after mesh and node."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: Labels = ()


@dataclass(slots=True)
class Filled:
    """A family and its values; those of a histogram are (counts, sum)."""

    family: Family
    values: dict[Labels, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One node at one moment. ``state`` is None when it did not answer in time."""

    mesh: str
    node: str
    id: str
    state: State | None


Row = tuple[Labels, Any]

_MAKERS: list[tuple[Family, Callable[[State], Iterable[Row]]]] = []


def _family(
    kind: Literal["counter", "gauge", "histogram"], name: str, help: str, *labels: str
) -> Callable[[Callable[[State], Iterable[Row]]], Callable[[State], Iterable[Row]]]:
    def register(rows: Callable[[State], Iterable[Row]]) -> Callable[[State], Iterable[Row]]:
        _MAKERS.append((Family(name, kind, help, labels), rows))
        return rows

    return register


# The node.


@_family(
    "gauge",
    "mesh_build_info",
    "Always 1; what the node is made of.",
    "version",
    "protocol",
    "python",
    "id",
)
def _build(state: State) -> Iterator[Row]:
    node = state["node"]
    yield (node["version"], str(node["protocol"]), node["python"], node["id"][:8]), 1


@_family("gauge", "mesh_start_time_seconds", "When the node was made, as Unix time.")
def _start(state: State) -> Iterator[Row]:
    if state["node"]["since"] is not None:
        yield (), state["node"]["since"].timestamp()


@_family("gauge", "mesh_health_status", "1 for the status that the node has, else 0.", "status")
def _status(state: State) -> Iterator[Row]:
    return (((one,), int(one == state["health"]["status"])) for one in STATUSES)


@_family("gauge", "mesh_health_problem", "1 for what is the matter, else 0.", "problem")
def _problem(state: State) -> Iterator[Row]:
    return (((one,), int(one in state["health"]["problems"])) for one in PROBLEMS)


@_family("histogram", "mesh_event_loop_lag_seconds", "How late the event loop runs its timers.")
def _lag(state: State) -> Iterator[Row]:
    lag = state["process"]["lag"]
    yield (), (lag["counts"], lag["total"])


@_family(
    "gauge", "mesh_event_loop_lag_recent_max_seconds", "The largest lag of the last minute or two."
)
def _recent_lag(state: State) -> Iterator[Row]:
    yield (), state["process"]["lag"]["recent"]


@_family(
    "gauge",
    "mesh_certificate_expiry_timestamp_seconds",
    "When the node's certificate ends, as Unix time; nothing without one.",
)
def _certificate(state: State) -> Iterator[Row]:
    if (ends := state["node"].get("certificate_ends")) is not None:
        yield (), ends.timestamp()


@_family("gauge", "mesh_discovery_source_failing", "1 if a discovery source fails.", "source")
def _sources(state: State) -> Iterator[Row]:
    return (
        ((name,), int(source["status"] == "failing")) for name, source in state["discovery"].items()
    )


@_family(
    "gauge", "mesh_discovery_source_found", "Nodes that a discovery source sees now.", "source"
)
def _found(state: State) -> Iterator[Row]:
    return (((name,), len(source["found"])) for name, source in state["discovery"].items())


# Calls.


def _by_method(name: str, value: Callable[[State], float]) -> Callable[[State], Iterator[Row]]:
    key = "name" if name == "methods" else "method"

    def rows(state: State) -> Iterator[Row]:
        for number, one in enumerate(state[name]):
            is_listed = number < MAX_METHODS and one[key] != OTHERS
            yield (one[key] if is_listed else OTHER,), value(one)

    return rows


def _results(name: str) -> Callable[[State], Iterator[Row]]:
    succeeded = _by_method(name, lambda one: one["succeeded"])
    failed = _by_method(name, lambda one: one["failed"])

    def rows(state: State) -> Iterator[Row]:
        for (method,), count in succeeded(state):
            yield (method, "succeeded"), count
        for (method,), count in failed(state):
            yield (method, "failed"), count

    return rows


def _durations(name: str) -> Callable[[State], Iterator[Row]]:
    return _by_method(name, lambda one: (one["latency"]["counts"], one["latency"]["total"]))  # type: ignore[arg-type,return-value]


_family(
    "counter",
    "mesh_calls_served_total",
    "Calls that were answered here: with a value, or with what the method raised.",
    "method",
    "result",
)(_results("methods"))
_family(
    "histogram",
    "mesh_served_call_duration_seconds",
    "From the arrival of a call here to its value.",
    "method",
)(_durations("methods"))
_family("gauge", "mesh_calls_running", "Calls that run here now.", "method")(
    _by_method("methods", lambda one: one["running"])
)
_family("gauge", "mesh_calls_waiting", "Calls that wait here for their turn.", "method")(
    _by_method("methods", lambda one: one["waiting"])
)
_family("gauge", "mesh_calls_concurrency_limit", "Calls that may run at once.", "method")(
    _by_method("methods", lambda one: one["concurrency"])
)
_family(
    "counter",
    "mesh_calls_made_total",
    "Calls made here that ended: with a value, or with any error.",
    "method",
    "result",
)(_results("calls"))
_family(
    "histogram",
    "mesh_made_call_duration_seconds",
    "From a call made here to its value, on the caller's side.",
    "method",
)(_durations("calls"))
_family("gauge", "mesh_calls_in_flight", "Calls made here that have not ended.", "method")(
    _by_method("calls", lambda one: one["in_flight"])
)


# Messages.


def _total(name: str) -> Callable[[State], Iterator[Row]]:
    return lambda state: iter((((), state["node"]["link_totals"][name]),))


_family("counter", "mesh_messages_sent_total", "Messages sent to peers over links.")(_total("sent"))
_family("counter", "mesh_messages_received_total", "Messages received from peers over links.")(
    _total("received")
)
_family("counter", "mesh_casts_received_total", "Groupcasts that came here.")(
    _total("casts_received")
)


def _by_subscription(name: str) -> Callable[[State], Iterator[Row]]:
    def rows(state: State) -> Iterator[Row]:
        for number, one in enumerate(state["subscriptions"]):
            texts = one["pattern"] or "", one["group"] or "", one["queue"] or ""
            yield texts if number < MAX_LISTED else (OTHER, "", ""), one[name]

    return rows


_SUBSCRIPTION = ("subject", "group", "queue_group")
_family(
    "gauge",
    "mesh_subscription_waiting_messages",
    "Messages that wait in a subscription.",
    *_SUBSCRIPTION,
)(_by_subscription("waiting"))
_family(
    "gauge",  # it is of those that are open: the sum goes back when one of them is closed
    "mesh_subscription_missed_messages",
    "Messages that subscriptions which are open did not get, as far as is known.",
    *_SUBSCRIPTION,
)(_by_subscription("missed"))


def _by_pool(name: str) -> Callable[[State], Iterator[Row]]:
    def rows(state: State) -> Iterator[Row]:
        for number, one in enumerate(state["groups"]):
            texts = one["group"] or "", one["queue"] or ""
            yield texts if number < MAX_LISTED else (OTHER, ""), one[name]

    return rows


for _name, _key, _text in (
    ("casts_unacknowledged", "unacknowledged", "Groupcasts sent from here and not acknowledged."),
    ("casts_unacknowledged_bytes", "bytes", "Their bytes."),
    ("casts_in_flight", "in_flight", "Of these, those that are with a member."),
    ("casts_waiting", "waiting", "And those that wait for credit or room."),
):
    _family("gauge", f"mesh_{_name}", _text, "group", "queue_group")(_by_pool(_key))


# Peers.


@_family("gauge", "mesh_peers", "Nodes that this one knows, without observers.", "state")
def _peers(state: State) -> Iterator[Row]:
    yield from (((one,), 0) for one in STATES)
    for peer in state["peers"]:
        if not peer["is_observer"]:
            yield (peer["state"],), 1


@_family("gauge", "mesh_observers", "Observers that are linked.")
def _observers(state: State) -> Iterator[Row]:
    yield (), sum(p["is_observer"] and p["state"] in LINKED for p in state["peers"])


def _members(state: State) -> Iterator[tuple[str, State]]:
    """The peers that are members, the longest known first, and how each is labelled."""
    members = (p for p in state["peers"] if p["state"] in LINKED and not p["is_observer"])
    for number, peer in enumerate(members):
        yield f"{peer['name']}/{peer['id'][:8]}" if number < MAX_LISTED else OTHER, peer


def _by_peer(name: str) -> Callable[[State], Iterator[Row]]:
    return lambda state: (((label,), peer[name]) for label, peer in _members(state))


def _by_listed_peer(name: str) -> Callable[[State], Iterator[Row]]:
    return lambda state: (
        ((label,), peer[name]) for label, peer in _members(state) if label != OTHER
    )


@_family(
    "gauge",
    "mesh_peer_link_up",
    "1 if a direction of the link with a peer is up: it hears us, or we hear it.",
    "peer",
    "direction",
)
def _links(state: State) -> Iterator[Row]:
    for label, peer in _members(state):
        if label != OTHER:
            yield (label, "out"), int(peer["hears_us"])
            yield (label, "in"), int(peer["is_heard"])


for _name, _key, _text in (
    ("waiting_bytes", "waiting_bytes", "Bytes that wait here for a peer, beyond its window."),
    ("waiting_messages", "waiting_messages", "Messages that wait here for a peer."),
    ("calls_in_flight", "calls_in_flight", "Calls to a peer that have not ended."),
):
    _family("gauge", f"mesh_peer_{_name}", _text, "peer")(_by_peer(_key))

_family("gauge", "mesh_peer_silence_seconds", "Since when nothing was heard of a peer.", "peer")(
    _by_listed_peer("last_heard_seconds")
)

for _name, _key, _text in (
    ("sent", "sent", "Messages sent to a peer over its link."),
    ("received", "received", "Messages received from a peer over its link."),
    ("dropped", "dropped", "Messages for a peer that were dropped here."),
):
    _family("counter", f"mesh_peer_messages_{_name}_total", _text, "peer")(_by_listed_peer(_key))


# Work queues.


for _kind, _name, _text, _labels, _rows in QUEUE_FAMILIES:
    _family(_kind, _name, _text, *_labels)(_rows)


# Counters.


def _counter(name: str) -> Callable[[State], Iterator[Row]]:
    return lambda state: iter((((), state["counters"].get(name, 0)),))


for _name, _text in COUNTED.items():
    _family("counter", f"mesh_{_name}_total", _text)(_counter(_name))


UP = Family("mesh_up", "gauge", "1 if the node's event loop answered in time, else 0.")

FAMILIES = (UP, *(family for family, _ in _MAKERS))
"""All there are."""


def fill(snapshots: Sequence[Snapshot]) -> Iterator[Filled]:
    """All families of these nodes."""
    labels = _node_labels(snapshots)
    up = Filled(UP)
    for own, snapshot in zip(labels, snapshots, strict=True):
        up.values[own] = int(snapshot.state is not None)
    yield up
    for family, rows in _MAKERS:
        filled = Filled(family)
        for own, snapshot in zip(labels, snapshots, strict=True):
            if snapshot.state is not None:
                for names, value in rows(snapshot.state):
                    _add(filled, (*own, *names), value)
        yield filled


def _add(filled: Filled, labels: Labels, value: Any) -> None:
    """What has the same labels is one: several subscriptions of a pattern, all the others."""
    values = filled.values
    if filled.family.kind != "histogram":
        values[labels] = values.get(labels, 0) + value
        return
    counts, total = value
    if labels in values:
        before, sum_before = values[labels]
        counts, total = [a + b for a, b in zip(before, counts, strict=True)], sum_before + total
    values[labels] = counts, total


def _node_labels(snapshots: Sequence[Snapshot]) -> list[Labels]:
    """A node's name, which stays when it is restarted; of two alike also their ids."""
    names = [(snapshot.mesh, snapshot.node) for snapshot in snapshots]
    return [
        (s.mesh, s.node if names.count(name) == 1 else f"{s.node}/{s.id[:8]}")
        for name, s in zip(names, snapshots, strict=True)
    ]


def cumulative(counts: Sequence[int]) -> list[int]:
    """Of each of ``BUCKETS``, how many are at most as long."""
    sums = list(itertools.accumulate(counts))
    return [*sums[: len(BOUNDS) : 2], sums[-1]]
