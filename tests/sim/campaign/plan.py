"""A plan: what a run does, decided by a seed before anything runs."""

from __future__ import annotations

from random import Random
from typing import NamedTuple

__all__ = ["FAULTS", "VERBS", "Plan", "Step", "make_plan"]

VERBS = {
    "call": 6,
    "publish": 5,
    "broadcast": 2,
    "send": 2,
    "groupcast": 6,
    "ping": 1,
    "flush": 1,
    "subscribe": 2,
    "unsubscribe": 2,
    "enlist": 2,
    "dismiss": 1,
    "read": 2,
}
"""Verb to weight. Each is a method of ``Workload``, or of ``Casts``."""

FAULTS = {
    "cut": 4,
    "replace": 2,
    "swallow": 2,
    "strand": 1,
    "reopen": 1,
    "freeze": 3,
    "block": 3,
    "nap": 4,
    "go_on": 3,
    "partition": 2,
    "block_path": 2,
    "heal": 3,
    "slow_path": 2,
    "slow_all": 1,
    "kill": 2,
    "kill_busy": 2,
    "cut_busy": 3,
    "restart": 2,
    "join": 2,
    "leave": 2,
    "jump_date": 1,
}
"""Fault to weight. Each is a method of ``Faults``."""

PAUSES = (0.0, 0.0, 0.001, 0.003, 0.01, 0.05, 0.1, 0.3)
LONG_PAUSES = (0.1, 1.0, 3.0, 6.0, 12.0)


class Step(NamedTuple):
    """``dice`` seeds all that is random in it; ``pause`` seconds pass after it."""

    kind: str
    dice: int
    pause: float


class Plan(NamedTuple):
    """``is_narrow``: the link's windows and queues are a few KiB, so that their bounds matter.

    ``has_discovery``: all hear of all now and then; without, each knows a seed and what peers tell.
    """

    seed: int
    nodes: int
    latency: float
    jitter: float
    is_narrow: bool
    has_discovery: bool
    steps: tuple[Step, ...]


def make_plan(seed: int) -> Plan:
    """The plan of a seed; one in forty has up to 30 nodes, the others 5 to 8."""
    random = Random(seed)
    nodes = random.randrange(9, 31) if seed % 40 == 39 else random.choice([5, 5, 5, 6, 6, 7, 8])
    latency = random.choice([0.0003, 0.002, 0.02])
    jitter = random.choice([0.2, 2.0, 5.0])
    is_narrow, has_discovery = random.random() < 0.5, random.random() < 0.7
    steps: list[Step] = []
    for _ in range(random.randrange(2, 9)):
        kind = random.choices(list(FAULTS), list(FAULTS.values()))[0]
        steps.append(Step(kind, random.getrandbits(32), random.choice(PAUSES)))
        for _ in range(random.randrange(2, 8)):
            kind = random.choices(list(VERBS), list(VERBS.values()))[0]
            steps.append(Step(kind, random.getrandbits(32), random.choice(PAUSES)))
        last = steps.pop()
        steps.append(last._replace(pause=random.choice(LONG_PAUSES)))
    return Plan(seed, nodes, latency, jitter, is_narrow, has_discovery, tuple(steps))
