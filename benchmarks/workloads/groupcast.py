"""One of many: each message is handled by exactly one of four members, in processes of their own.

The rate counts messages handled, from the first one sent until the last one is handled and, where
the system acknowledges, its sender knows. `balance` is what the busiest member handled, divided by
the mean. CPU is user and system time of all threads, per message: of the sender, of the members
together (a message is handled by one), and of everything that takes part, a broker included.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from benchmarks.stage import REPORT_GRACE_S, Actor, Stage
from benchmarks.workloads import WARM_UP_S, Metric, Sample, Workload, split_broker
from benchmarks.workloads.contestants import MESH, MESH_KEY, NATS, NATS_ACKNOWLEDGED, RAW

PAYLOAD_BYTES = 64
MEMBERS = 4

COLLECT_PAUSE_S = 0.02
"""Between two looks at members that have not handled all; they note themselves when they did."""

STUCK_S = 2.0
"""What no member has handled in this time, after the sender ended, is lost."""


@dataclass(frozen=True, slots=True)
class Totals:
    """What the members have handled and what everybody but the sender has used, so far."""

    handled: list[int]
    last_ns: int
    members_cpu_s: float
    broker_cpu_s: float


def cast_to_members(stage: Stage, params: Mapping[str, Any], seconds: float) -> Sample:
    broker, options = split_broker(stage, params)
    members = [stage.start("member", size=PAYLOAD_BYTES, **options) for _ in range(MEMBERS)]
    peers = [member.expect() for member in members]
    caster = stage.start("caster", size=PAYLOAD_BYTES, peers=peers, **options)
    caster.expect()
    before = Totals([0] * MEMBERS, 0, 0.0, 0.0)
    sent = 0
    for duration_s in (WARM_UP_S, seconds):
        start = before
        caster.tell(seconds=duration_s)
        report = caster.expect(duration_s + REPORT_GRACE_S)
        sent += report["sent"]
        before = collect(members, broker, sent)
    return Sample(measured(report, start, before), expected=sent, delivered=sum(before.handled))


def collect(members: list[Actor], broker: Actor | None, expected: int) -> Totals:
    """Wait until the members have handled all, or nothing more comes."""
    handled: list[int] = []
    deadline = 0.0
    while True:
        for member in members:
            member.tell(collect=True)
        reports = [member.expect() for member in members]
        previous, handled = handled, [report["handled"] for report in reports]
        now = time.monotonic()
        if handled != previous:
            deadline = now + STUCK_S
        if sum(handled) >= expected or now > deadline:
            break
        time.sleep(COLLECT_PAUSE_S)
    broker_cpu_s = 0.0
    if broker is not None:
        broker.tell(collect=True)
        broker_cpu_s = broker.expect()["cpu_s"]
    last_ns = max(report["at_ns"] for report in reports)
    return Totals(handled, last_ns, sum(report["cpu_s"] for report in reports), broker_cpu_s)


def measured(report: Mapping[str, Any], before: Totals, after: Totals) -> dict[str, float]:
    """The metrics of the part between two collections; `report` is the sender's."""
    handled = [now - then for now, then in zip(after.handled, before.handled, strict=True)]
    total = sum(handled)
    if not total:
        return dict.fromkeys((metric.name for metric in METRICS), 0.0)
    elapsed_ns = max(after.last_ns, report["ended_ns"]) - report["started_ns"]
    members_cpu_s = after.members_cpu_s - before.members_cpu_s
    broker_cpu_s = after.broker_cpu_s - before.broker_cpu_s
    return {
        "rate": total / elapsed_ns * 1e9,
        "balance": max(handled) * len(handled) / total,
        "sender": report["cpu_s"] / total * 1e9,
        "member": members_cpu_s / total * 1e9,
        "all": (report["cpu_s"] + members_cpu_s + broker_cpu_s) / total * 1e9,
    }


METRICS: Final = (
    Metric("rate", "msg/s", "higher"),
    Metric("balance", "max/mean", "lower", digits=3),
    Metric("sender", "ns CPU/msg", "lower"),
    Metric("member", "ns CPU/msg", "lower"),
    Metric("all", "ns CPU/msg", "lower"),
)
GROUPCAST: Final = Workload(
    "groupcast", METRICS, (MESH, MESH_KEY, NATS, NATS_ACKNOWLEDGED, RAW), cast_to_members
)
