"""Publish and subscribe: floods from one publisher to one or eight receivers, and to nobody.

A flood's rate is what was delivered, from the first publish to the moment the slowest receiver
handled the last message; what still sits in a buffer when the publisher stops is paid for.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, Final

from benchmarks.stage import REPORT_GRACE_S, Actor, Stage
from benchmarks.workloads import MESH, RAW, WARM_UP_S, Metric, Sample, Workload

SMALL_BYTES = 64
LARGE_BYTES = 64 * 1024
FAN_OUT = 8

RATE = Metric("rate", "msg/s", "higher")
BANDWIDTH = Metric("bandwidth", "MB/s", "higher")
COST = Metric("cost", "ns/publish", "lower")


def flood(
    stage: Stage, _params: Mapping[str, Any], seconds: float, *, size: int, receivers: int
) -> Sample:
    publisher = stage.start("publisher", size=size, receivers=receivers)
    peer = publisher.expect()
    subscribers = [stage.start("subscriber", size=size, peer=peer) for _ in range(receivers)]
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


PUBSUB_64B: Final = Workload(
    "pubsub-64b", (RATE,), (MESH, RAW), partial(flood, size=SMALL_BYTES, receivers=1)
)
FANOUT_8: Final = Workload(
    "fanout-8", (RATE,), (MESH, RAW), partial(flood, size=SMALL_BYTES, receivers=FAN_OUT)
)
PUBSUB_64K: Final = Workload(
    "pubsub-64k", (BANDWIDTH,), (MESH, RAW), partial(flood, size=LARGE_BYTES, receivers=1)
)
PUBLISH_NOBODY: Final = Workload("publish-nobody", (COST,), (MESH, RAW), publish_to_nobody)
