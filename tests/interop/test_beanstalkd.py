"""The life of a job against that in beanstalkd: the same steps, and the same comes of them.

It is where the states, and their names but for *buried*, come from. What is not the same is so on
purpose, and is told in ``DIFFERENCES``; a difference that is no more is a failure, too.
"""

from __future__ import annotations

import itertools
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, given, settings

from patterns.queues.ticket import State

pytest.importorskip(
    "greenstalk", reason="greenstalk, the client of beanstalkd, is not installed (the extra 'test')"
)
jobs = pytest.importorskip("tests.interop.jobs")

BEANSTALKD = shutil.which("beanstalkd")
PATIENCE = 20.0

pytestmark = pytest.mark.skipif(BEANSTALKD is None, reason="beanstalkd is not installed")


DIFFERENCES = {
    "done-needs-the-lease": (
        "There anybody deletes a job that nobody holds, so a worker whose lease has ended ends the "
        "job under the feet of the next. Here who does not hold it any more is told."
    ),
    "people-delete-what-is-reserved": (
        "There a reserved job is its consumer's alone. Here somebody at 3 a.m. deletes it, and its "
        "worker is told."
    ),
    "deadline-soon": (
        "There who holds a job in its last second is told so instead of being given another. Here "
        "that is a warning beside the jobs (on_deadline_soon), which stops nothing."
    ),
    "release-keeps-the-priority": "There a release sets the priority. Here it is the producer's.",
    "dead-ones-by-priority": (
        "There jobs are kicked, and shown, in the order in which they were buried. Here in that of "
        "the line, the most urgent first."
    ),
    "a-kick-is-for-the-dead": (
        "There a kick is of delayed jobs where none is buried. Here it is of the dead alone, so "
        "that one kick too many starts nothing that is to wait; one delayed job can be kicked."
    ),
    "a-kick-begins-anew": (
        "There a kicked job keeps its count of attempts. Here somebody has mended what was wrong, "
        "and it has all of its attempts again."
    ),
    "a-pause-lasts": "There a pause ends by itself. Here somebody ends it.",
}


@dataclass(frozen=True)
class Differs:
    """A step of which something else comes here than there."""

    step: str
    name: str
    there: str
    here: str


@dataclass(frozen=True)
class Scenario:
    """``lease`` is the TTR there, in seconds."""

    name: str
    steps: tuple[str | Differs, ...]
    lease: int = jobs.FOREVER

    @property
    def plain(self) -> list[str]:
        return [step.step if isinstance(step, Differs) else step for step in self.steps]


def scenario(name: str, *steps: str | Differs, lease: int = jobs.FOREVER) -> Scenario:
    return Scenario(name, tuple(itertools.chain(*(split(step) for step in steps))), lease)


def split(steps: str | Differs) -> list[str | Differs]:
    if isinstance(steps, Differs):
        return [steps]
    return [step.strip() for step in steps.split(",")]


SCENARIOS = (
    scenario(
        "jobs are reserved by priority and in order inside one",
        "put a, put b pri=5, put c pri=0, put d pri=5, put e pri=4294967295, put f",
        "1 reserve, 2 reserve, 1 reserve, 2 reserve, 1 reserve, 2 reserve, 1 reserve",
    ),
    scenario(
        "a job that comes back has its old place",
        "put a, put b, put c, 1 reserve, 2 reserve, 1 release a, 2 reserve, 2 release b",
        "1 reserve, 1 reserve, 1 reserve",
    ),
    scenario(
        "who does not hold a job can do nothing with it",
        "put a, put b, 1 reserve, 2 done a, 2 release a, 2 bury a, 2 touch a",
        "1 touch b, 1 release b, 1 bury b, 1 done a, 1 done a, 1 release a, 1 bury a, 1 touch a",
    ),
    scenario(
        "a job is deleted in each state",
        "put a, put b delay=100, put c, delete a, delete a, delete b, 1 reserve, 1 bury c",
        "delete c, delete c, put d, 1 reserve, 1 done d, delete d, 1 reserve",
    ),
    scenario(
        "what is buried waits to be kicked",
        "put a, put b, put c, 1 reserve, 1 reserve, 1 reserve, 1 bury a, 1 bury b, 1 bury c",
        "1 reserve, peek dead, kick 2, peek dead, 2 reserve, 2 reserve, 2 reserve, kick 10, kick 1",
        "2 reserve",
    ),
    scenario(
        "a kick is of buried jobs while there are some",
        "put a delay=100, put b delay=50, put d, 1 reserve, 1 bury d, kick 10, 1 reserve",
        "1 reserve",
    ),
    scenario(
        "one job is kicked",
        "put a, put b, put c delay=100, 1 reserve, 1 reserve, 1 bury a, 1 bury b, kick-job b",
        "kick-job b, kick-job c, kick-job z, 1 reserve, kick-job b, 1 reserve, 1 reserve",
    ),
    scenario(
        "people look at the first of each state",
        "peek ready, peek delayed, peek dead, put a, put b pri=1, put c delay=100, put d delay=50",
        "peek ready, peek delayed, peek dead, peek c, peek z, 1 reserve, peek ready, peek b",
        "1 bury b, peek dead, peek b, 1 reserve, peek ready, 1 done a, peek a",
    ),
    scenario(
        "of who is gone all is ready at once",
        "put a, put b pri=1, put c, 1 reserve, 1 reserve, 2 reserve, 1 leave, 2 reserve, 2 reserve",
        "1 reserve, 2 bury a, 2 leave, 1 reserve, 1 reserve, 1 reserve",
    ),
    scenario(
        "who is gone and comes again does not hold what it had",
        "put a, 1 reserve, 1 leave, 1 touch a, 1 release a, 1 bury a, 2 reserve, 1 done a",
    ),
    scenario(
        "nothing is handed out in a pause and all else goes on",
        "put a, put b, 1 reserve, pause for=3600, 1 reserve, put c, 1 touch a, 1 release a",
        "peek ready, 2 reserve, resume, 2 reserve, pause for=3600, 2 bury a, kick 1, 2 reserve",
        "resume, 2 reserve, 2 reserve, 2 done b",
    ),
    scenario(
        "attempts are counted",
        "put a, attempts a, 1 reserve, attempts a, 1 release a, 1 reserve, 1 leave, 2 reserve",
        "attempts a, 2 bury a, attempts a, attempts z",
    ),
    # What differs.
    scenario(
        "a worker ends what it does not hold",
        "put a",
        Differs("1 done a", "done-needs-the-lease", "ok", jobs.NOT_FOUND),
    ),
    scenario(
        "people delete what is reserved",
        "put a, 1 reserve",
        Differs("delete a", "people-delete-what-is-reserved", jobs.NOT_FOUND, "ok"),
    ),
    scenario(
        "a job is released with another priority",
        "put a pri=9, put b pri=5, 1 reserve, 1 release b pri=20",
        Differs("1 reserve", "release-keeps-the-priority", "a", "b"),
    ),
    scenario(
        "the more urgent one is buried last",
        "put a pri=9, put b pri=9, put c pri=1, 1 reserve, 1 reserve, 1 reserve",
        "1 bury b, 1 bury a, 1 bury c",
        Differs("peek dead", "dead-ones-by-priority", "b", "c"),
        "kick 1",
        Differs("2 reserve", "dead-ones-by-priority", "b", "c"),
    ),
    scenario(
        "a kick where nothing is dead",
        "put a delay=100",
        Differs("kick 1", "a-kick-is-for-the-dead", "1", "0"),
    ),
    scenario(
        "attempts are counted after a kick",
        "put a, 1 reserve, 1 bury a, kick 1",
        Differs("attempts a", "a-kick-begins-anew", "1", "0"),
    ),
)

WITH_TIME = (
    scenario(
        "what is delayed is ready when it is due",
        "put a delay=1, put b delay=2, put c, 1 reserve, 1 reserve, wait 0.5, 1 reserve, wait 0.9",
        "1 reserve, 1 reserve, wait 1, peek delayed, 1 reserve",
    ),
    scenario(
        "what is released with a delay is ready when it is due",
        "put a pri=1, put b, 1 reserve, 1 release a delay=1, 1 reserve, 1 reserve, wait 1.4",
        "2 reserve",
    ),
    scenario(
        "who waits is given what comes due",
        "put a delay=1, 1 reserve wait=3, 1 reserve wait=1, 1 done a, 1 reserve wait=1",
    ),
    scenario(
        "a lease that ends makes the job ready",
        "put a, 1 reserve, wait 1.4, 2 reserve, 1 touch a, 1 release a, 1 bury a, 1 done a",
        "attempts a, 2 done a",
        lease=1,
    ),
    scenario(
        "leases end one by one",
        "put a, put b pri=1, 1 reserve, wait 1, 1 reserve, wait 1.4, 2 reserve, 2 reserve, wait 1",
        "2 reserve",
        lease=2,
    ),
    scenario(
        "a touch begins the lease anew",
        "put a, 1 reserve, wait 1, 1 touch a, wait 1.4, 2 reserve, 1 touch a, 1 done a",
        lease=2,
    ),
    scenario(
        "a worker ends a job after its lease",
        "put a, 1 reserve, wait 1.4",
        Differs("1 done a", "done-needs-the-lease", "ok", jobs.NOT_FOUND),
        lease=1,
    ),
    scenario(
        "a worker asks for more in the last second of a lease",
        "put a, 1 reserve, 2 reserve",
        Differs("1 reserve", "deadline-soon", jobs.DEADLINE_SOON, jobs.NOTHING),
        "1 done a, 1 reserve",
        lease=1,
    ),
    scenario(
        "a pause that nobody ends",
        "put a, pause for=1, 1 reserve, wait 1.4",
        Differs("1 reserve", "a-pause-lasts", "a", jobs.NOTHING),
    ),
)


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """A server's, on a socket that is a file: nobody else can have it."""
    assert BEANSTALKD is not None
    with tempfile.TemporaryDirectory() as folder:
        address = os.fspath(Path(folder) / "jobs")
        with subprocess.Popen([BEANSTALKD, "-l", f"unix:{address}"]) as server:
            try:
                wait_for(address, server)
                yield address
            finally:
                server.terminate()


def wait_for(address: str, server: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end and server.poll() is None:
        with socket.socket(socket.AF_UNIX) as probe:
            if probe.connect_ex(address) == 0:
                return
        time.sleep(0.01)
    raise AssertionError("beanstalkd did not come up")


def compare(scenario: Scenario, there: list[str]) -> None:
    here = jobs.play(jobs.Ours(scenario.lease), scenario.plain)
    for step, line_there, line_here in zip(scenario.steps, there, here, strict=True):
        if not isinstance(step, Differs):
            assert line_here == line_there
            continue
        assert step.name in DIFFERENCES
        said = [line.partition(";")[0] for line in (line_there, line_here)]
        assert said == [f"{step.step}: {step.there}", f"{step.step}: {step.here}"]


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_the_same_comes_of_each_step(scenario: Scenario, address: str) -> None:
    tube = scenario.name.replace(" ", "-")
    compare(scenario, jobs.play_there(address, tube, scenario.plain, scenario.lease))


def test_the_same_comes_of_each_step_in_time(address: str) -> None:
    """All at once there, as they wait most of the time."""
    with ThreadPoolExecutor(len(WITH_TIME)) as threads:
        waited = [
            threads.submit(
                jobs.play_there, address, f"time-{number}", scenario.plain, scenario.lease
            )
            for number, scenario in enumerate(WITH_TIME)
        ]
    for scenario, there in zip(WITH_TIME, waited, strict=True):
        compare(scenario, there.result())


def test_each_difference_is_met() -> None:
    steps = itertools.chain(*(scenario.steps for scenario in (*SCENARIOS, *WITH_TIME)))
    assert {step.name for step in steps if isinstance(step, Differs)} == set(DIFFERENCES)


# Scripts at random, without time.

TUBES = itertools.count()
VERBS = (
    "put", "put", "put", "put-delayed", "reserve", "reserve", "reserve", "reserve", "done", "done",
    "release", "release-delayed", "bury", "touch", "kick", "kick-job", "delete", "peek", "leave",
)  # fmt: skip

Draw = tuple[str, int, int]
DRAWS = st.lists(
    st.tuples(st.sampled_from(VERBS), st.integers(0, 1), st.integers(0, 7)),
    min_size=10,
    max_size=60,
)


class Author:
    """Makes steps of what was drawn, by how it stands here; leaves out what differs on purpose."""

    def __init__(self) -> None:
        self.ours = jobs.Ours()
        self.steps: list[str] = []
        self.transcript: list[str] = []
        self.names = 0
        self.delay = 1000

    def write(self, verb: str, who: int, number: int) -> None:
        for step in self.steps_of(verb, f"{who + 1} ", number):
            self.steps.append(step)
            self.transcript += jobs.play(self.ours, [step])

    def steps_of(self, verb: str, who: str, number: int) -> Iterator[str]:
        name = f"j{max(0, self.names - 1 - number)}"
        state = self.ours.state(name)
        match verb:
            case "put" | "put-delayed":
                delay = f" delay={self.later()}" if verb == "put-delayed" else ""
                yield f"put j{self.names} pri={number // 3}{delay}"
                self.names += 1
            case "reserve" | "leave":
                yield who + verb
            case "release-delayed":
                yield f"{who}release {name} delay={self.later()}"
            case "kick":
                yield from self.kick(number)
            case "peek":
                yield f"peek {('ready', 'delayed', name)[number % 3]}"
            case "kick-job":
                yield f"kick-job {name}"
            case "delete":
                if state is not State.RESERVED:
                    yield f"delete {name}"
            case _:
                if verb != "done" or state in (State.RESERVED, State.GONE):
                    yield f"{who}{verb} {name}"

    def kick(self, number: int) -> Iterator[str]:
        """All of the dead ones, as they are in another order there; where there are some."""
        if dead := self.ours.line.dead:
            yield f"kick {max(number, dead)}"

    def later(self) -> int:
        """No two are due in the same second."""
        self.delay += 10
        return self.delay


def compare_at_random(address: str, draws: list[Draw]) -> None:
    author = Author()
    for draw in draws:
        author.write(*draw)
    assert jobs.play_there(address, f"random-{next(TUBES)}", author.steps) == author.transcript


@settings(max_examples=50, derandomize=True, database=None, deadline=None)
@given(draws=DRAWS)
def test_the_same_comes_of_steps_at_random(address: str, draws: list[Draw]) -> None:
    compare_at_random(address, draws)


@pytest.mark.slow
@settings(max_examples=2_000, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(draws=DRAWS)
def test_the_same_comes_of_many_steps_at_random(address: str, draws: list[Draw]) -> None:
    compare_at_random(address, draws)
