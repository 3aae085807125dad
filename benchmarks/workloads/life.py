"""What a node costs before and between its messages: import, cold start, idling."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Mapping
from statistics import median
from typing import Any, Final

from benchmarks.stage import READY_TIMEOUT_S, REPORT_GRACE_S, ROOT, RunFailed, Stage
from benchmarks.workloads import Contestant, Metric, Sample, Workload
from benchmarks.workloads.contestants import MESH, PYRE

IDLE_S = 3.0
"""Long enough for several heartbeats and announcements, whatever `--seconds` says."""

IDLE_NODES = 2
"""Each idle node has one neighbour, so that a link is kept alive."""

IMPORT_PAIRS = 5
"""Interpreters started with and without the import per run; a single start varies by 10 %."""


def start_to_call(stage: Stage, params: Mapping[str, Any], _seconds: float) -> Sample:
    """Both start at one word, after their imports; the clock starts with the first of them."""
    server = stage.start("cold_server", **params)
    client = stage.start("cold_client", **params)
    for actor in (server, client):
        actor.expect()
    for actor in (server, client):
        actor.tell(start=True)
    answered = client.expect()
    started_ns = min(answered["started_ns"], server.expect()["started_ns"])
    return Sample({"time": (answered["answered_ns"] - started_ns) / 1e6}, expected=1, delivered=1)


def idle(stage: Stage, _params: Mapping[str, Any], _seconds: float) -> Sample:
    idlers = [stage.start("idler", count=IDLE_NODES) for _ in range(IDLE_NODES)]
    for idler in idlers:
        idler.expect()
    for idler in idlers:
        idler.tell(seconds=IDLE_S)
    reports = [idler.expect(IDLE_S + REPORT_GRACE_S) for idler in idlers]
    return Sample(
        {
            "memory": max(report["rss_bytes"] for report in reports) / 1e6,
            "cpu": max(report["cpu_s"] / report["elapsed_s"] for report in reports) * 100,
        }
    )


def import_time(_stage: Stage, params: Mapping[str, Any], _seconds: float) -> Sample:
    module = params["module"]
    interpreter_s(f"import {module}")  # writes the bytecode
    with_import_s, bare_s = [], []
    for _ in range(IMPORT_PAIRS):
        with_import_s.append(interpreter_s(f"import {module}"))
        bare_s.append(interpreter_s("pass"))
    return Sample({"time": (median(with_import_s) - median(bare_s)) * 1e3})


def interpreter_s(code: str) -> float:
    """How long a fresh interpreter takes to start, run `code` and end."""
    before = time.monotonic()
    try:
        subprocess.run(
            [sys.executable, "-c", code],
            cwd=ROOT,
            check=True,
            capture_output=True,
            timeout=READY_TIMEOUT_S,
        )
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        raise RunFailed(str(error)) from error
    return time.monotonic() - before


START_TO_CALL: Final = Workload(
    "start-to-call",
    (Metric("time", "ms", "lower", digits=1),),
    (
        Contestant("mesh-local", "mesh_async", {"discovery": ["local"]}),
        Contestant("mesh-mdns", "mesh_async", {"discovery": ["mdns"]}),
        PYRE,
    ),
    start_to_call,
)
IDLE: Final = Workload(
    "idle",
    (Metric("memory", "MB RSS", "lower", digits=1), Metric("cpu", "% core", "lower", digits=2)),
    (MESH,),
    idle,
)
IMPORT: Final = Workload(
    "import",
    (Metric("time", "ms", "lower", digits=1),),
    (
        Contestant("mesh", "mesh_async", {"module": "mesh"}),
        Contestant("raw", "raw", {"module": "zmq"}),
    ),
    import_time,
)
