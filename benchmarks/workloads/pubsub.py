"""Publish and subscribe: floods from one publisher to one or eight receivers, and to nobody.

A flood's rate is what was delivered, from the first publish to the moment the slowest receiver
handled the last message; what still sits in a buffer when the publisher stops is paid for.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, Final

from benchmarks.stage import REPORT_GRACE_S, Actor, Stage
from benchmarks.workloads import WARM_UP_S, Metric, Sample, Workload, split_broker
from benchmarks.workloads.contestants import (
    MESH,
    MESH_KEY,
    MESH_NODE,
    NATS,
    PYNNG_DROP,
    PYRE,
    RAW,
    ZENOH,
    ZENOH_DROP,
    ZMQ_ASYNCIO,
    with_params,
)

SMALL_BYTES = 64
LARGE_BYTES = 64 * 1024
FAN_OUT = 8
SUBJECTS = 1_000

RATE = Metric("rate", "msg/s", "higher")
BANDWIDTH = Metric("bandwidth", "MB/s", "higher")
COST = Metric("cost", "ns/publish", "lower")


def flood(
    stage: Stage,
    params: Mapping[str, Any],
    seconds: float,
    *,
    size: int,
    receivers: int = 1,
    subjects: int = 1,
) -> Sample:
    _, options = split_broker(stage, params)
    options |= {"size": size, "subjects": subjects}
    publisher = stage.start("publisher", receivers=receivers, **options)
    peer = publisher.expect()
    subscribers = [stage.start("subscriber", peer=peer, **options) for _ in range(receivers)]
    for subscriber in subscribers:
        subscriber.expect()
    warm_sent, warm_delivered, _ = flood_once(publisher, subscribers, WARM_UP_S)
    sent, delivered, elapsed_s = flood_once(publisher, subscribers, seconds)
    rate = delivered / elapsed_s
    return Sample(
        values={"rate": rate, "bandwidth": rate * size / 1e6},
        expected=(warm_sent + sent) * receivers,
        delivered=warm_delivered + delivered,
    )


def flood_once(
    publisher: Actor, subscribers: list[Actor], seconds: float
) -> tuple[int, int, float]:
    """Messages sent, deliveries at all receivers, and the seconds these took."""
    timeout_s = seconds + REPORT_GRACE_S
    publisher.tell(seconds=seconds)
    published = publisher.expect(timeout_s)
    marks = [subscriber.expect(timeout_s) for subscriber in subscribers]
    elapsed_ns = max(mark["at_ns"] for mark in marks) - published["started_ns"]
    return published["sent"], sum(mark["delivered"] for mark in marks), elapsed_ns / 1e9


def publish_to_nobody(stage: Stage, _params: Mapping[str, Any], seconds: float) -> Sample:
    publisher = stage.start("lonely_publisher", size=SMALL_BYTES)
    publisher.expect()
    reached = 0
    for duration_s in (WARM_UP_S, seconds):
        publisher.tell(seconds=duration_s)
        report = publisher.expect(duration_s + REPORT_GRACE_S)
        reached += report["reached"]
    return Sample(values={"cost": report["ns_per_publish"]}, delivered=reached)


PEERS: Final = (MESH, MESH_KEY, MESH_NODE, ZMQ_ASYNCIO, ZENOH, ZENOH_DROP, NATS, PYNNG_DROP, RAW)
THREADS: Final = with_params(MESH_NODE, "mesh-8-threads", threads=8)

PUBSUB_64B: Final = Workload(
    "pubsub-64b", (RATE,), (MESH, THREADS, *PEERS[1:], PYRE), partial(flood, size=SMALL_BYTES)
)
PUBSUB_MIXED: Final = Workload(
    "pubsub-mixed", (RATE,), PEERS, partial(flood, size=SMALL_BYTES, subjects=SUBJECTS)
)
PUBSUB_64K: Final = Workload("pubsub-64k", (BANDWIDTH,), PEERS, partial(flood, size=LARGE_BYTES))
FANOUT_8: Final = Workload(
    "fanout-8", (RATE,), PEERS, partial(flood, size=SMALL_BYTES, receivers=FAN_OUT)
)
PUBLISH_NOBODY: Final = Workload("publish-nobody", (COST,), (MESH, RAW), publish_to_nobody)
