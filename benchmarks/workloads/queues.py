"""Work queues: jobs of 64 bytes from one producer's process to one worker's, put, handled and done.

The rate counts jobs that are done, from the first put until the last one is done and the producer
knows that all are put; `put` is the rate at which puts were acknowledged meanwhile. CPU is of all
that take part, the server included, for each job. In memory the producer sends as its client does
best; durable, 64 producers put one job at a time, each acknowledged when it is on the disk.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, Final

from benchmarks.stage import REPORT_GRACE_S, Stage
from benchmarks.workloads import WARM_UP_S, Metric, Sample, Workload
from benchmarks.workloads.contestants import (
    BEANSTALKD,
    JETSTREAM,
    JETSTREAM_SYNCED,
    JETSTREAM_UNSYNCED,
    MESH_QUEUES,
    REDIS_LIST,
    REDIS_SAFE,
    REDIS_STREAM,
)
from benchmarks.workloads.groupcast import Totals, collect

PAYLOAD_BYTES = 64
AT_ONCE = 64
"""Producers of a durable queue."""


def put_and_work(
    stage: Stage, params: Mapping[str, Any], seconds: float, *, durable: bool
) -> Sample:
    options = {**params, "size": PAYLOAD_BYTES, "durable": durable}
    broker = None
    if options.pop("broker", False):
        broker = stage.start("broker", **options)
        options["broker"] = broker.expect()
    worker = stage.start("worker", **options)
    peer = worker.expect()
    putter = stage.start("putter", peers=[peer], at_once=AT_ONCE if durable else 1, **options)
    putter.expect()
    after = Totals([0], 0, 0.0, 0.0)
    sent = 0
    for duration_s in (WARM_UP_S, seconds):
        before = after
        putter.tell(seconds=duration_s)
        report = putter.expect(duration_s + REPORT_GRACE_S)
        sent += report["sent"]
        after = collect([worker], broker, sent)
    jobs = after.handled[0] - before.handled[0]
    ended_ns = max(after.last_ns, report["ended_ns"])
    cpu_s = after.members_cpu_s - before.members_cpu_s + after.broker_cpu_s - before.broker_cpu_s
    values = {
        "rate": jobs / (ended_ns - report["started_ns"]) * 1e9,
        "put": report["sent"] / (report["ended_ns"] - report["started_ns"]) * 1e9,
        "all": (report["cpu_s"] + cpu_s) / max(1, jobs) * 1e9,
    }
    return Sample(values, expected=sent, delivered=after.handled[0])


METRICS: Final = (
    Metric("rate", "jobs/s", "higher"),
    Metric("put", "puts/s", "higher"),
    Metric("all", "ns CPU/job", "lower"),
)
QUEUE_MEMORY: Final = Workload(
    "queue-memory",
    METRICS,
    (MESH_QUEUES, BEANSTALKD, REDIS_LIST, REDIS_SAFE, REDIS_STREAM, JETSTREAM),
    partial(put_and_work, durable=False),
)
QUEUE_DURABLE: Final = Workload(
    "queue-durable",
    METRICS,
    (
        MESH_QUEUES,
        BEANSTALKD,
        REDIS_LIST,
        REDIS_SAFE,
        REDIS_STREAM,
        JETSTREAM_SYNCED,
        JETSTREAM_UNSYNCED,
    ),
    partial(put_and_work, durable=True),
)
