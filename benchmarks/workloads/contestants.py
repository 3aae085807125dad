"""Everybody who competes, and why one cannot where something is not installed."""

from __future__ import annotations

import dataclasses
import functools
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from shutil import which
from typing import Any, Final

from benchmarks.stage import READY_TIMEOUT_S, ROOT
from benchmarks.workloads import BASELINE, Contestant

MESH: Final = Contestant("mesh", "mesh_async")
MESH_KEY: Final = Contestant("mesh-key", "mesh_async", {"key": "benchmark, not a secret"})
MESH_NODE: Final = Contestant("mesh-node", "mesh_blocking")
RAW: Final = Contestant(BASELINE, "raw")


def with_params(contestant: Contestant, label: str, **params: Any) -> Contestant:
    """The same system in another way."""
    return dataclasses.replace(contestant, label=label, params={**contestant.params, **params})


def lacks(module: str, package: str) -> Callable[[], str | None]:
    """Says that a package of the extra is missing, without importing it."""

    def missing() -> str | None:
        if find_spec(module) is None:
            return f"{package} is not installed (the extra 'bench')"
        return None

    return missing


def nats_is_missing() -> str | None:
    """Why NATS cannot play here; None if it can."""
    if which("nats-server") is None:
        return "there is no nats-server on PATH"
    return lacks("nats", "nats-py")()


def lacks_program(program: str, *others: Callable[[], str | None]) -> Callable[[], str | None]:
    """Says that a server is missing, or what else is."""

    def missing() -> str | None:
        if which(program) is None:
            return f"there is no {program} on PATH"
        return next((said for other in others if (said := other()) is not None), None)

    return missing


def mesh_has_no_queues() -> str | None:
    """Why the mesh cannot play at work queues; None if it can."""
    import mesh

    return None if hasattr(mesh.Node, "queue") else "mesh.Node has no queues as yet"


def nats_syncs_never() -> str | None:
    """Why a JetStream here cannot be durable; None if it can."""
    from benchmarks.systems.jetstream import can_sync

    return None if can_sync() else "nats-server is older than 2.10: it cannot sync each message"


@functools.cache
def pyre_is_missing() -> str | None:
    """Why Pyre cannot play here; None if it can. It is old, and needs an interface for beacons."""
    missing = lacks("pyre", "zeromq-pyre")()
    if missing is not None:
        return missing
    try:
        subprocess.run(
            [sys.executable, "-m", "benchmarks.systems.pyre_nodes"],
            cwd=ROOT,
            check=True,
            capture_output=True,
            timeout=READY_TIMEOUT_S,
        )
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        lines = (error.stderr or b"").decode(errors="replace").split("\n")
        said = next((line for line in reversed(lines) if line.strip()), str(error))
        return f"two nodes of zeromq-pyre do not meet here: {said.strip()}"
    return None


NATS: Final = Contestant("nats", "nats_client", {"broker": True}, nats_is_missing)
NATS_ACKNOWLEDGED: Final = with_params(NATS, "nats-ack", acknowledged=True)
ZENOH: Final = Contestant("zenoh", "zenoh_peer", missing=lacks("zenoh", "eclipse-zenoh"))
ZENOH_DROP: Final = dataclasses.replace(with_params(ZENOH, "zenoh-drop", drop=True), may_lose=True)
PYNNG: Final = Contestant("pynng", "pynng_sockets", missing=lacks("pynng", "pynng"))
PYNNG_DROP: Final = dataclasses.replace(PYNNG, may_lose=True)
ZMQ_ASYNCIO: Final = Contestant("zmq.asyncio", "zmq_asyncio")
GRPC: Final = Contestant("grpc.aio", "grpc_aio", missing=lacks("grpc", "grpcio"))
RPYC: Final = Contestant("rpyc", "rpyc_calls", missing=lacks("rpyc", "rpyc"))
PYRE: Final = Contestant("pyre", "pyre_nodes", missing=pyre_is_missing)

MESH_QUEUES: Final = Contestant("mesh", "mesh_queues", missing=mesh_has_no_queues)
BEANSTALKD: Final = Contestant(
    "beanstalkd", "beanstalk_sockets", {"broker": True}, lacks_program("beanstalkd")
)
REDIS: Final = Contestant(
    "redis",
    "redis_queues",
    {"broker": True},
    lacks_program("redis-server", lacks("redis", "redis")),
)
REDIS_LIST: Final = with_params(REDIS, "redis-list", way="plain")
REDIS_SAFE: Final = with_params(REDIS, "redis-list-safe", way="safe")
REDIS_STREAM: Final = with_params(REDIS, "redis-stream", way="stream")
JETSTREAM: Final = Contestant("jetstream", "jetstream", {"broker": True}, nats_is_missing)
JETSTREAM_SYNCED: Final = dataclasses.replace(
    JETSTREAM, missing=lacks_program("nats-server", lacks("nats", "nats-py"), nats_syncs_never)
)
JETSTREAM_UNSYNCED: Final = with_params(JETSTREAM, "jetstream-unsynced", unsynced=True)
