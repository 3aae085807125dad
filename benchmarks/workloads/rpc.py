"""Remote calls: an echo of 64 bytes, with 64 calls in flight and with one.

One in flight measures how long two processes take to wake each other, more than any library; it
depends on where the scheduler puts them. `--pin` puts them on one CPU, which is steadier.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from benchmarks.stage import REPORT_GRACE_S, Stage
from benchmarks.workloads import WARM_UP_S, Metric, Sample, Workload, split_broker
from benchmarks.workloads.contestants import (
    GRPC,
    MESH,
    MESH_KEY,
    MESH_NODE,
    NATS,
    PYNNG,
    RAW,
    RPYC,
    ZENOH,
    ZMQ_ASYNCIO,
    with_params,
)

PAYLOAD_BYTES = 64
IN_FLIGHT = 64


def echo(
    stage: Stage, kind: str, params: Mapping[str, Any], seconds: float
) -> tuple[dict[str, Any], int, int]:
    """The client's report on the measured seconds, and all calls issued and answered rightly."""
    _, options = split_broker(stage, params)
    peer = stage.start(f"{kind}_server", **options).expect()
    client = stage.start(f"{kind}_client", size=PAYLOAD_BYTES, peer=peer, **options)
    client.expect()
    issued = answered = 0
    for duration_s in (WARM_UP_S, seconds):
        client.tell(seconds=duration_s)
        report = client.expect(duration_s + REPORT_GRACE_S)
        issued += report["issued"]
        answered += report["answered"]
    return report, issued, answered


def window(stage: Stage, params: Mapping[str, Any], seconds: float) -> Sample:
    params = {**params, "in_flight": IN_FLIGHT}
    report, issued, answered = echo(stage, "window", params, seconds)
    rate = report["answered"] / report["elapsed_ns"] * 1e9
    return Sample({"rate": rate}, expected=issued, delivered=answered)


def serial(stage: Stage, params: Mapping[str, Any], seconds: float) -> Sample:
    report, issued, answered = echo(stage, "serial", params, seconds)
    values = {"p50": report["p50_us"], "p99": report["p99_us"]}
    return Sample(values, expected=issued, delivered=answered)


ASYNC_PEERS: Final = (MESH, MESH_KEY, ZMQ_ASYNCIO, ZENOH, NATS, PYNNG, GRPC, RPYC, RAW)
POOL: Final = with_params(MESH_NODE, "mesh-pool", pool=True)
RPC_64: Final = Workload("rpc-64", (Metric("rate", "calls/s", "higher"),), ASYNC_PEERS, window)
RPC_1: Final = Workload(
    "rpc-1",
    (Metric("p50", "µs", "lower", digits=1), Metric("p99", "µs", "lower", digits=1)),
    (MESH, MESH_NODE, POOL, *ASYNC_PEERS[1:]),
    serial,
)
