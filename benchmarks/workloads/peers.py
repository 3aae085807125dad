"""What one more peer costs a node: memory and descriptors of a process with one node in it, while a
crowd in other processes grows. The slope between two sizes leaves out what the first link costs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from benchmarks.stage import REPORT_GRACE_S, Stage
from benchmarks.workloads import Metric, Sample, Workload
from benchmarks.workloads.contestants import MESH, MESH_KEY, PYRE

FEW = 4
MANY = 24
"""Peers at the two ends of the slope. Fewer, and the noise of a heap (0.1 MB) shows; more cost
time, since the crowd links with itself, too."""

CROWDS = 2
"""Processes that the peers are in."""


def peer_memory(stage: Stage, params: Mapping[str, Any], _seconds: float) -> Sample:
    watched = stage.start("watched", **params)
    crowds = [stage.start("crowd", **params) for _ in range(CROWDS)]
    for actor in (watched, *crowds):
        actor.expect()
    usages = []
    known = 0
    for peers in (FEW, MANY):
        for crowd in crowds:
            crowd.tell(add=(peers - known) // CROWDS)
        for crowd in crowds:
            crowd.expect()
        known = peers
        watched.tell(peers=peers)
        usages.append(watched.expect(REPORT_GRACE_S))
    few, many = usages
    return Sample(
        {
            "memory": (many["rss_bytes"] - few["rss_bytes"]) / (MANY - FEW) / 1e3,
            "descriptors": (many["descriptors"] - few["descriptors"]) / (MANY - FEW),
        }
    )


PEER_MEMORY: Final = Workload(
    "peer-memory",
    (
        Metric("memory", "KB RSS/peer", "lower", digits=1),
        Metric("descriptors", "fd/peer", "lower", digits=1),
    ),
    (MESH, MESH_KEY, PYRE),
    peer_memory,
)
