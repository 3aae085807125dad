"""From states of nodes to families: names, bounds, sums."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text

import mesh
from mesh.metrics.counted import COUNTED
from mesh.metrics.exporter import metrics
from mesh.metrics.families import (
    FAMILIES,
    MAX_LISTED,
    MAX_METHODS,
    OTHER,
    PARTS,
    Snapshot,
    fill,
)
from mesh.testing import SimMesh
from patterns.rpc.measures import BOUNDS, Histogram

ROOT = Path(__file__).resolve().parents[4]

RIGHTS = ("call", "publish", "subscribe", "join", "broadcast", "groupcast")


@pytest.fixture(scope="module")
def state() -> dict[str, Any]:
    """Of a node that serves, listens and has a peer."""
    with SimMesh(seed=1) as sim:
        calc = sim.node("calc")
        calc.rpc("add")(lambda a, b: a + b)
        calc.subscriber("news.*")(lambda message: None)
        calc.member("crew")(lambda message: None)
        shop = sim.node("shop")
        sim.until(lambda: len(shop.peers()) == len(calc.peers()) == 1, within=10.0)
        calc.host.engine.inspection.measure()
        sim.run(shop.call("calc.add", 1, 2))
        sim.run(calc.call("calc.add", 1, 2))
        shop.publish("news.today", 1)
        sim.run(shop.groupcast("crew", 1))
        sim.run(calc.groupcast("crew", 1))
        queue = calc.queue("emails")
        calc.worker("emails", group="senders")(lambda job: None)
        sim.run(shop.service("_mesh", peer=calc.id)["state"](["queues"]))  # measured from now on
        sim.run(queue.put_many(range(3)))
        sim.advance(1.0)
        asked = shop.service("_mesh", peer=calc.id)["state"](list(PARTS))
        found: dict[str, Any] = sim.run(asked)
    return found


def snapshot(state: dict[str, Any] | None, **names: str) -> Snapshot:
    return Snapshot(**({"mesh": "m", "node": "calc", "id": "1a" * 16} | names), state=state)  # type: ignore[arg-type]


def values(snapshots: list[Snapshot], name: str) -> dict[tuple[str, ...], Any]:
    return next(filled.values for filled in fill(snapshots) if filled.family.name == name)


class Registered:
    """A collector of these."""

    def __init__(self, *snapshots: Snapshot) -> None:
        self._snapshots = list(snapshots)

    def describe(self) -> list[Any]:
        return []

    def collect(self) -> Iterator[Any]:
        return metrics(self._snapshots)


def registry(*snapshots: Snapshot) -> CollectorRegistry:
    made = CollectorRegistry()
    made.register(Registered(*snapshots))  # type: ignore[arg-type]
    return made


def test_names_are_as_prometheus_wants_them() -> None:
    assert len({family.name for family in FAMILIES}) == len(FAMILIES)
    for family in FAMILIES:
        assert re.fullmatch(r"mesh_[a-z]+(_[a-z]+)*", family.name)
        assert family.name.endswith("_total") == (family.kind == "counter")
        assert family.help.endswith(".")
        assert not {"mesh", "node", "le", "instance", "job"} & set(family.labels)
        assert not re.search(r"_(ms|milliseconds|minutes|kib|mib)(_|$)", family.name)
        if family.kind == "histogram":
            assert family.name.endswith("_seconds")


def test_every_counter_of_a_node_has_a_meaning() -> None:
    names = {f"denied_{right}" for right in RIGHTS} | {"connections_refused", "strange_frames"}
    for package in ("mesh", "patterns"):
        for path in (ROOT / package).rglob("*.py"):
            names |= set(re.findall(r'count\(\s*"(\w+)"', path.read_text(encoding="utf-8")))
    kept = (ROOT / "mesh/engine/counting.py").read_text(encoding="utf-8")
    names |= set(re.findall(r'^        "(\w+)":', kept, flags=re.MULTILINE))
    assert names == set(COUNTED)


def test_all_families_of_a_node_can_be_read_by_both_parsers(state: dict[str, Any]) -> None:
    made = registry(snapshot(state))
    text = generate_latest(made).decode()
    found = {sample.name for family in read_text(text) for sample in family.samples}
    open_text = generate_openmetrics(made).decode()
    assert {s.name for family in read_openmetrics(open_text) for s in family.samples} == found
    for family in FAMILIES:
        name = f"{family.name}_bucket" if family.kind == "histogram" else family.name
        # One has nothing to tell of without a certificate.
        assert (name in found) == ("certificate" not in name), name


def test_a_call_is_told_with_result_and_duration(state: dict[str, Any]) -> None:
    own = ("m", "calc")
    served = values([snapshot(state)], "mesh_calls_served_total")
    assert served[(*own, "calc.add", "succeeded")] == 2
    assert served[(*own, "calc.add", "failed")] == 0
    made = values([snapshot(state)], "mesh_calls_made_total")
    assert made[(*own, "calc.add", "succeeded")] == 1
    counts, _ = values([snapshot(state)], "mesh_made_call_duration_seconds")[*own, "calc.add"]
    assert sum(counts) == 1


def test_a_queue_is_told_at_its_home_and_at_its_worker(state: dict[str, Any]) -> None:
    own = ("m", "calc")
    jobs = values([snapshot(state)], "mesh_queue_jobs")
    assert jobs[(*own, "emails", "senders", "ready")] == 0
    assert values([snapshot(state)], "mesh_queue_workers")[(*own, "emails", "senders")] == 1
    assert values([snapshot(state)], "mesh_queue_jobs_put_total")[(*own, "emails")] == 3
    assert values([snapshot(state)], "mesh_queue_jobs_done_total")[(*own, "emails")] == 3
    handled = values([snapshot(state)], "mesh_worker_jobs_total")
    assert handled[(*own, "emails", "senders", "done")] == 3
    assert handled[(*own, "emails", "senders", "lost")] == 0
    took = values([snapshot(state)], "mesh_worker_job_duration_seconds")
    assert sum(took[(*own, "emails", "senders")][0]) == 3


def test_both_directions_of_a_link_are_told(state: dict[str, Any]) -> None:
    links = values([snapshot(state)], "mesh_peer_link_up")
    assert set(links.values()) == {1}
    assert {labels[-1] for labels in links} == {"in", "out"}
    assert values([snapshot(state)], "mesh_peers")["m", "calc", "alive"] == 1


def test_a_histogram_adds_up(state: dict[str, Any]) -> None:
    histogram = Histogram()
    for seconds in (1e-6, BOUNDS[0], BOUNDS[1], BOUNDS[2], 1.0, 60.0, 1000.0):
        histogram.add(seconds)
    lag = state["process"]["lag"] | {"counts": histogram.counts, "total": histogram.total}
    changed = state | {"process": state["process"] | {"lag": lag}}
    text = generate_openmetrics(registry(snapshot(changed))).decode()
    (family,) = (f for f in read_openmetrics(text) if f.name == "mesh_event_loop_lag_seconds")
    buckets = {s.labels["le"]: s.value for s in family.samples if s.name.endswith("_bucket")}
    assert buckets["+Inf"] == 7
    assert buckets["1.6e-05"] == 2
    assert buckets["3.2e-05"] == 4
    assert len(buckets) == len(BOUNDS[::2]) + 1


def peer(number: int, **fields: Any) -> dict[str, Any]:
    return {
        "id": f"{number:032x}"[::-1],
        "name": "calc",
        "state": "alive",
        "is_observer": False,
        "hears_us": True,
        "is_heard": True,
        "waiting_bytes": 10,
        "waiting_messages": 1,
        "calls_in_flight": 2,
        "last_heard_seconds": 0.5,
        "sent": 5,
        "received": 6,
        "dropped": 7,
    } | fields


def test_peers_beyond_the_bound_are_told_together(state: dict[str, Any]) -> None:
    many = state | {"peers": [peer(n) for n in range(MAX_LISTED + 50)]}
    waiting = values([snapshot(many)], "mesh_peer_waiting_bytes")
    assert len(waiting) == MAX_LISTED + 1
    assert waiting["m", "calc", OTHER] == 500
    # Those who come and go among them would make a counter go back.
    sent = values([snapshot(many)], "mesh_peer_messages_sent_total")
    assert len(sent) == MAX_LISTED
    assert ("m", "calc", OTHER) not in sent


def test_who_is_gone_leaves_no_series(state: dict[str, Any]) -> None:
    """A peer that is restarted a thousand times is a thousand peers; one of them is a member."""
    gone = [peer(n, state="failed" if n % 2 else "left") for n in range(1000)]
    tools = [peer(n + 2000, is_observer=True) for n in range(1000)]
    peers = [*gone, *tools, peer(5000)]
    made = list(fill([snapshot(state | {"peers": peers})]))
    per_peer = [filled for filled in made if filled.family.name.startswith("mesh_peer_")]
    assert len(per_peer) == 8
    assert all(len(filled.values) <= 2 for filled in per_peer)
    known = values([snapshot(state | {"peers": peers})], "mesh_peers")
    assert known["m", "calc", "failed"] == known["m", "calc", "left"] == 500
    assert values([snapshot(state | {"peers": peers})], "mesh_observers") == {("m", "calc"): 1000}


def test_methods_and_subscriptions_are_bounded(state: dict[str, Any]) -> None:
    (method, *_) = state["methods"]
    methods = [method | {"name": f"calc.m{n}", "running": 1} for n in range(MAX_METHODS + 10)]
    listening = [
        {"pattern": f"p{n}", "group": None, "queue": None, "waiting": 1, "missed": 2}
        for n in range(MAX_LISTED + 10)
    ]
    many = [snapshot(state | {"methods": methods, "subscriptions": listening})]
    running = values(many, "mesh_calls_running")
    assert (len(running), running["m", "calc", OTHER]) == (MAX_METHODS + 1, 10)
    assert len(values(many, "mesh_served_call_duration_seconds")) == MAX_METHODS + 1
    missed = values(many, "mesh_subscription_missed_messages")
    assert (len(missed), missed["m", "calc", OTHER, "", ""]) == (MAX_LISTED + 1, 20)


def test_subscriptions_that_are_alike_are_one(state: dict[str, Any]) -> None:
    one = {"pattern": "p", "group": None, "queue": None, "waiting": 3, "missed": 1}
    twice = [snapshot(state | {"subscriptions": [one, one]})]
    assert values(twice, "mesh_subscription_waiting_messages") == {("m", "calc", "p", "", ""): 6}


def test_nodes_of_one_registry_are_told_apart(state: dict[str, Any]) -> None:
    first, other = snapshot(state), snapshot(state, node="shop")
    twin = snapshot(None, id="2b" * 16)
    assert set(values([first, other], "mesh_up")) == {("m", "calc"), ("m", "shop")}
    # Of one name, so that the name is not enough.
    up = values([first, twin, other], "mesh_up")
    assert up == {("m", "calc/1a1a1a1a"): 1, ("m", "calc/2b2b2b2b"): 0, ("m", "shop"): 1}
    text = generate_latest(registry(first, twin, other)).decode()
    assert text.count("# TYPE mesh_up gauge") == 1


def test_a_node_that_does_not_answer_is_told_as_down_and_nothing_else() -> None:
    made = {filled.family.name: filled.values for filled in fill([snapshot(None)])}
    assert made.pop("mesh_up") == {("m", "calc"): 0}
    assert not any(made.values())


def test_without_the_library_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "prometheus_client", None)
    with pytest.raises(mesh.ConfigError, match=r"pip install 'mesh-p2p\[metrics\]'"):
        mesh.Node("calc", metrics_port=0)
    with pytest.raises(mesh.ConfigError, match=r"mesh-p2p\[metrics\]"):
        mesh.Node("calc").export_metrics()


@pytest.mark.parametrize("place", [-1, 65536, "somewhere", True, 1.5, "host:port", "a:b:c"])
def test_a_wrong_place_is_refused_at_once(place: Any) -> None:
    with pytest.raises(mesh.ConfigError, match="metrics_port="):
        mesh.Node("calc", metrics_port=place)


def test_a_simulation_has_no_http() -> None:
    with SimMesh() as sim, pytest.raises(mesh.ConfigError, match="leave out metrics_port="):
        sim.node("calc", metrics_port=0)


def test_the_environment_sets_it_but_for_observers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MESH_METRICS_PORT", "9464")
    assert mesh.AsyncNode("calc")._settings.metrics == ("127.0.0.1", 9464)
    assert mesh.AsyncNode("tool", observer=True)._settings.metrics is None
    monkeypatch.setenv("MESH_METRICS_PORT", "0.0.0.0:9465")
    assert mesh.AsyncNode("calc")._settings.metrics == ("0.0.0.0", 9465)
