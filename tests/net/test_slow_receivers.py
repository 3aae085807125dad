"""One of several subscribers is stopped while a publisher goes at full rate.

The others lose nothing and go on as fast, the publisher's memory stays within its bound, and the
one that was stopped is told exactly what it missed; also when it, or the publisher, is killed and
started anew meanwhile.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mesh.links.outbox import PENDING_BYTES, WINDOW_BYTES
from tests.conftest import Measured
from tests.net.processes import NodeProcess, until

Start = Callable[..., NodeProcess]

SIZE = 200
"""Bytes of a message's filling."""

OBJECT_BYTES = 64
"""What a packed message takes in the publisher besides its own bytes, about."""

NOISE_BYTES = 4 * 1024 * 1024
"""What an allocator may do."""


def memory_of(process: NodeProcess) -> int:
    """Resident bytes."""
    status = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii")
    return int(status.partition("VmRSS:")[2].split()[0]) * 1024


class Crowd:
    """A publisher and its subscribers, the last of which will be stopped."""

    def __init__(self, start_process: Start, count: int) -> None:
        self._start = start_process
        self.most_memory = 0
        """What the publisher took at most, as far as was looked."""
        self.publisher = start_process("publisher", wait=False)
        self.subscribers = [self.subscriber(wait=False) for _ in range(count)]
        for process in (self.publisher, *self.subscribers):
            process.wait_started()
        self.wait_joined(*self.subscribers)

    def subscriber(self, wait: bool = True) -> NodeProcess:
        return self._start("subscriber", count="flow", wait=wait)

    def wait_joined(self, *subscribers: NodeProcess) -> None:
        for process in subscribers:
            self.publisher.ask("wait_state", peer=process.id, states=["alive"], timeout=20.0)
            process.ask("wait_state", peer=self.publisher.id, states=["alive"], timeout=20.0)

    @property
    def stopped(self) -> NodeProcess:
        return self.subscribers[-1]

    @property
    def others(self) -> list[NodeProcess]:
        return self.subscribers[:-1]

    def rate(self, seconds: float) -> float:
        """Messages/s that the slowest of the others receives; watches the memory meanwhile."""
        before, begin = [p.ask("count")["received"] for p in self.others], time.monotonic()
        self.most_memory = 0
        while time.monotonic() < begin + seconds:
            self.most_memory = max(self.most_memory, memory_of(self.publisher))
            time.sleep(0.1)
        after, end = [p.ask("count")["received"] for p in self.others], time.monotonic()
        return min(b - a for a, b in zip(before, after, strict=True)) / (end - begin)

    def wait_for_number(self, number: int, *subscribers: NodeProcess) -> None:
        """Until that number of the publisher has come."""
        for process in subscribers:
            until(
                lambda p=process: p.ask("count")["last"].get(self.publisher.id) == number,
                30.0,
                f"number {number}",
            )


def check_complete(process: NodeProcess, publisher: NodeProcess, count: int) -> None:
    sums = process.ask("count")
    assert (sums["received"], sums["holes"], sums["disorder"]) == (count, 0, 0)
    assert process.ask("gaps") == []


def run(start_process: Start, measured: Measured, count: int, seconds: float) -> float:
    """Returns the others' rate while one is stopped, relative to before and after."""
    crowd = Crowd(start_process, count)
    publisher, stopped = crowd.publisher, crowd.stopped
    publisher.ask("begin_flood", subject="flow", size=SIZE)
    crowd.rate(0.5)  # caches and buffers are what they will be
    before, memory = crowd.rate(seconds / 3), crowd.most_memory
    stopped.signal(signal.SIGSTOP)
    during = crowd.rate(seconds)
    grown = crowd.most_memory - memory
    state = publisher.ask("peers", all=True)[stopped.id]
    stopped.signal(signal.SIGCONT)
    crowd.wait_joined(stopped)
    after = crowd.rate(seconds / 3)
    published = publisher.ask("end_flood", within=30.0)
    publisher.ask("publish", subject="flow", first=published)
    crowd.wait_for_number(published, *crowd.subscribers)

    for process in crowd.others:
        check_complete(process, publisher, published + 1)
    sums, gaps = stopped.ask("count"), stopped.ask("gaps")
    assert None not in gaps
    assert sum(gaps) > 0, "it missed nothing: the test proves nothing"
    assert sums["received"] + sum(gaps) == published + 1
    assert sums["holes"] == sum(gaps)
    assert sums["disorder"] == 0
    assert publisher.ask("counters")["dropped_for_slow_peers"] <= sum(gaps)
    bound = PENDING_BYTES * (1 + OBJECT_BYTES / SIZE) + WINDOW_BYTES + NOISE_BYTES
    assert grown <= bound, f"the publisher grew by {grown / 2**20:.1f} MiB"
    measured("messages/s to each", before)
    measured("the same while one is stopped", during)
    measured("the same afterwards", after)
    measured("MiB that the publisher grew", grown / 2**20)
    measured("missed by the stopped one", sum(gaps))
    assert state in (("failed",) if seconds > 15 else ("suspect", "failed"))
    return 2 * during / (before + after)


def test_while_one_subscriber_is_stopped_the_others_lose_nothing_and_it_is_told_what_it_missed(
    start_process: Start, measured: Measured
) -> None:
    run(start_process, measured, count=3, seconds=3.0)


@pytest.mark.slow
def test_one_of_eight_subscribers_stopped_for_half_a_minute_slows_nobody(
    start_process: Start, measured: Measured
) -> None:
    ratio = run(start_process, measured, count=8, seconds=30.0)
    measured("rate while one is stopped, relative", ratio)
    assert ratio >= 0.9


@pytest.mark.parametrize("seconds", [0.5, pytest.param(10.0, marks=pytest.mark.slow)])
def test_the_stopped_one_and_its_publisher_are_killed_and_started_anew(
    start_process: Start, seconds: float
) -> None:
    crowd = Crowd(start_process, 3)
    publisher = crowd.publisher
    publisher.ask("begin_flood", subject="flow", size=SIZE)
    crowd.stopped.signal(signal.SIGSTOP)
    crowd.rate(seconds)

    crowd.stopped.kill()
    crowd.subscribers[-1] = crowd.subscriber()
    crowd.wait_joined(crowd.stopped)
    until(lambda: crowd.stopped.ask("count")["received"] > 0)
    stopped = crowd.stopped
    stopped.signal(signal.SIGSTOP)
    crowd.rate(seconds)

    publisher.kill()
    crowd.publisher = start_process("publisher")
    crowd.wait_joined(*crowd.others)
    crowd.publisher.ask("begin_flood", subject="flow", size=SIZE)
    crowd.rate(seconds)
    stopped.signal(signal.SIGCONT)
    crowd.wait_joined(stopped)
    published = crowd.publisher.ask("end_flood", within=30.0)
    crowd.publisher.ask("publish", subject="flow", first=published)
    crowd.wait_for_number(published, *crowd.subscribers)
    for process in crowd.others:
        sums = process.ask("count")
        assert (sums["holes"], sums["disorder"]) == (0, 0)
        assert process.ask("gaps") == [None], "of what a killed publisher had for it nobody knows"
    assert stopped.ask("wait_state", peer=publisher.id, states=["failed"]) == "failed"
