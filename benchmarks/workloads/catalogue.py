"""All workloads, in the order they are played and shown."""

from __future__ import annotations

from typing import Final

from benchmarks.workloads import Workload, groupcast, life, peers, pubsub, queues, rpc

WORKLOADS: Final[tuple[Workload, ...]] = (
    pubsub.PUBSUB_64B,
    pubsub.PUBSUB_MIXED,
    pubsub.PUBSUB_64K,
    pubsub.FANOUT_8,
    pubsub.PUBLISH_NOBODY,
    rpc.RPC_64,
    rpc.RPC_1,
    groupcast.GROUPCAST,
    queues.QUEUE_MEMORY,
    queues.QUEUE_DURABLE,
    life.START_TO_CALL,
    life.IDLE,
    peers.PEER_MEMORY,
    life.IMPORT,
)
