"""The benchmark's workloads, played once and briefly: they run to their end and lose nothing."""

from __future__ import annotations

import asyncio
import dataclasses

import pytest

from benchmarks import growth, harness, steps
from benchmarks.workloads import Workload
from benchmarks.workloads.life import START_TO_CALL
from benchmarks.workloads.peers import PEER_MEMORY
from benchmarks.workloads.pubsub import PUBSUB_64B
from benchmarks.workloads.queues import QUEUE_DURABLE, QUEUE_MEMORY
from tests.conftest import Measured

SECONDS = 0.1


def play(workload: Workload, label: str) -> harness.Score:
    (score,) = harness.play(
        workload, frozenset({label}), rounds=1, seconds=SECONDS, pin=None, tell=lambda text: None
    )
    if score.skipped is not None:
        pytest.skip(score.skipped)
    assert not score.failures
    assert score.is_exact or score.contestant.may_lose
    return score


@pytest.mark.parametrize("label", ["mesh", "pyre"])
def test_a_peer_costs_memory_and_descriptors(label: str, measured: Measured) -> None:
    score = play(PEER_MEMORY, label)
    (values,) = (sample.values for sample in score.samples)
    measured("KB of a peer:", values["memory"])
    assert 0 < values["memory"] < 10 * 1000
    assert 2 <= values["descriptors"] <= 9


@pytest.mark.parametrize("workload", [PUBSUB_64B, START_TO_CALL], ids=lambda w: w.name)
def test_pyre_plays_and_loses_nothing(workload: Workload) -> None:
    score = play(workload, "pyre")
    assert score.delivered > 0


@pytest.mark.slow
@pytest.mark.parametrize("workload", [QUEUE_MEMORY, QUEUE_DURABLE], ids=lambda w: w.name)
@pytest.mark.parametrize(
    "label",
    ["mesh", "beanstalkd", "redis-list", "redis-list-safe", "redis-stream", "jetstream"],
)
def test_each_job_of_a_queue_is_done_once(workload: Workload, label: str) -> None:
    assert play(workload, label).delivered > 0


def test_the_growth_of_a_mesh_is_measured_in_all_its_figures() -> None:
    size = growth.measure(nodes=5, per_process=2, idle_s=0.2)
    assert size.nodes == 5
    assert size.descriptors > 4 * 2
    figures = dataclasses.asdict(size)
    may_be_zero = {"foreign_cores", "subscribe_cpu_ms", "join_cpu_ms"}
    assert {field for field, value in figures.items() if not value > 0} <= may_be_zero


def test_each_step_of_a_message_takes_some_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "ROUNDS", 4)
    figures = asyncio.run(steps.measure())
    assert all(nanoseconds > 0 for nanoseconds in figures.values())
    assert figures["a message, both nodes in all"] > figures["  of that: pack"]
