"""One script of steps for two work queues, beanstalkd and ours, and what each of them says to it.

A step is a line of text: ``put``, ``delete``, ``kick``, ``kick-job``, ``peek``, ``pause``,
``resume`` and ``attempts`` are a producer's or an operator's; with ``1`` or ``2`` in front it is
that consumer's: ``reserve``, ``done``, ``release``, ``bury``, ``touch``, ``leave``. ``wait`` lets
time pass: real seconds there, and a clock that is moved here.

A line of the transcript is the step, what came of it, and how many jobs are in each state after it.

Surprise: beanstalkd 1.12 may miss the moment in which a lease ends, and then ends it when its
holder says something next. So after a ``wait`` each of them says something that changes nothing.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Protocol, TypeVar

import greenstalk

from mesh.stores import MemoryStore
from patterns.queues.errors import LeaseLost
from patterns.queues.home import Home
from patterns.queues.jobspec import HomeOptions, JobSpec
from patterns.queues.line import Holder
from patterns.queues.ticket import DEFAULT_PRIORITY, State, Ticket

Found = TypeVar("Found")

FOREVER = 120
"""Seconds of a lease, in scripts without time."""

MOST_LATE = 0.3
"""Seconds that a script with time may take longer than it says; what is checked is as far apart."""

STATES = ("ready", "delayed", "reserved", "dead")
NOT_FOUND, NOTHING, DEADLINE_SOON = "not found", "nothing", "deadline soon"


class Late(Exception):
    """The machine was too busy: what is due may be due already."""


class Player(Protocol):
    """Does steps; ``do`` returns what came of one."""

    def do(self, who: str, verb: str, words: list[str], options: dict[str, int]) -> str: ...

    def counts(self) -> dict[str, int]: ...


def play(player: Player, steps: Sequence[str]) -> list[str]:
    """The transcript."""
    lines = []
    for step in steps:
        words = step.split()
        who = words.pop(0) if words[0] in ("1", "2") else ""
        options = {k: int(v) for k, _, v in (w.partition("=") for w in words if "=" in w)}
        plain = [word for word in words if "=" not in word]
        outcome = player.do(who, plain[0], plain[1:], options)
        counts = player.counts()
        lines.append(f"{step}: {outcome}; " + " ".join(f"{s}={counts[s]}" for s in STATES))
    return lines


class Theirs:
    """A tube of beanstalkd."""

    def __init__(self, address: str, tube: str, lease: int = FOREVER) -> None:
        self._address, self._tube, self._lease = address, tube, lease
        self._clients: dict[str, greenstalk.Client[bytes]] = {}
        self._ids: dict[str, int] = {}
        self._priorities: dict[str, int] = {}
        self._began = time.monotonic()
        self._should_be = 0.0

    def close(self) -> None:
        for client in self._clients.values():
            client.close()

    def _client(self, who: str) -> greenstalk.Client[bytes]:
        client = self._clients.get(who)
        if client is None:
            client = self._clients[who] = greenstalk.Client(
                self._address, encoding=None, use=self._tube, watch=self._tube
            )
        return client

    def do(self, who: str, verb: str, words: list[str], options: dict[str, int]) -> str:
        try:
            return self._do(self._client(who), who, verb, words, options)
        except greenstalk.NotFoundError:
            return NOT_FOUND
        except greenstalk.TimedOutError:
            return NOTHING
        except greenstalk.DeadlineSoonError:
            return DEADLINE_SOON

    def _do(
        self,
        client: greenstalk.Client[bytes],
        who: str,
        verb: str,
        words: list[str],
        options: dict[str, int],
    ) -> str:
        name = words[0] if words else ""
        match verb:
            case "put":
                self._priorities[name] = options.get("pri", DEFAULT_PRIORITY)
                self._ids[name] = client.put(
                    name.encode(), self._priorities[name], options.get("delay", 0), self._lease
                )
            case "reserve":
                return self._reserve(client, options.get("wait", 0))
            case "leave":
                self._clients.pop(who).close()
                self._settle()
            case "kick":
                return str(client.kick(int(name)))
            case "pause" | "resume":
                client.pause_tube(self._tube, options["for"] if verb == "pause" else 0)
            case "wait":
                self._wait(float(name))
            case "peek" if name in STATES:
                peeks = client.peek_ready, client.peek_delayed, client.peek_buried
                return peeks[("ready", "delayed", "dead").index(name)]().body.decode()
            case _:
                return self._do_to_job(client, verb, name, options)
        return "ok"

    def _do_to_job(
        self, client: greenstalk.Client[bytes], verb: str, name: str, options: dict[str, int]
    ) -> str:
        job = greenstalk.Job(self._ids.get(name, 2**60), b"")
        priority = options.get("pri", self._priorities.get(name, DEFAULT_PRIORITY))
        match verb:
            case "done" | "delete":
                client.delete(job)
            case "release":
                client.release(job, priority, options.get("delay", 0))
            case "bury":
                client.bury(job, priority)
            case "touch":
                client.touch(job)
            case "kick-job":
                client.kick_job(job)
            case "peek":
                return client.peek(job.id).body.decode()
            case "attempts":
                return str(client.stats_job(job)["reserves"])
        return "ok"

    def _reserve(self, client: greenstalk.Client[bytes], patience: int) -> str:
        began = time.monotonic()
        try:
            return client.reserve(patience).body.decode()
        finally:
            if patience:
                self._should_be += time.monotonic() - began

    def _wait(self, seconds: float) -> None:
        self._should_be += seconds
        time.sleep(max(0.0, self._began + self._should_be - time.monotonic()))
        if time.monotonic() > self._began + self._should_be + MOST_LATE:
            raise Late
        for client in self._clients.values():
            client.using()

    def _settle(self) -> None:
        """It hears of an end when it looks at that connection: what is asked after that may still
        be answered before, in one round of its loop, but not in the one after."""
        for _ in range(2):
            self._client("").stats_tube(self._tube)

    def counts(self) -> dict[str, int]:
        stats = self._client("").stats_tube(self._tube)
        return {
            "ready": stats["current-jobs-ready"],
            "delayed": stats["current-jobs-delayed"],
            "reserved": stats["current-jobs-reserved"],
            "dead": stats["current-jobs-buried"],
        }


class Alarm:
    """A timer of the clock below."""

    def __init__(self, at_ms: float, ring: Callable[[], None]) -> None:
        self.at_ms, self.ring, self.is_cancelled = at_ms, ring, False

    def cancel(self) -> None:
        self.is_cancelled = True


class HandClock:
    """Moved by hand."""

    def __init__(self) -> None:
        self.now_ms = 1_000.0
        self._alarms: list[Alarm] = []

    def now(self) -> float:
        return self.now_ms / 1000

    def call_later(self, delay: float, callback: Callable[[], None]) -> Alarm:
        alarm = Alarm(self.now_ms + delay * 1000, callback)
        self._alarms.append(alarm)
        return alarm

    def move(self, ms: float) -> None:
        self.now_ms += ms
        due = [alarm for alarm in self._alarms if alarm.at_ms <= self.now_ms]
        self._alarms = [alarm for alarm in self._alarms if alarm.at_ms > self.now_ms]
        for alarm in due:
            if not alarm.is_cancelled:
                alarm.ring()


class Ours:
    """A home over a store in memory, with a clock that is moved by hand."""

    def __init__(self, lease: int = FOREVER) -> None:
        self._clock = HandClock()
        self._soon: deque[Callable[[], None]] = deque()
        store = MemoryStore()
        store.open()
        store.start(self._soon.append, lambda _, function: self._soon.append(function), 0)
        self._home = Home("jobs", store, self._clock, HomeOptions(max_attempts=None))
        self._home.open()
        self.line = self._home.group("")
        self._lease = lease
        self._holders: dict[str, Holder] = {}
        self._numbers: dict[str, int] = {}

    def _settle(self) -> None:
        """All that was to be called soon."""
        while self._soon:
            self._soon.popleft()()

    def _read(self, ask: Callable[[Callable[[Found], None]], None]) -> Found:
        found: list[Found] = []
        ask(found.append)
        self._settle()
        return found[0]

    def state(self, name: str) -> State:
        """Where a job is."""
        ticket = self._find(self._numbers.get(name, 0))
        return State.GONE if ticket is None else ticket.state

    def _find(self, number: int) -> Ticket | None:
        return self._read(lambda done: self.line.find(number, done))

    def do(self, who: str, verb: str, words: list[str], options: dict[str, int]) -> str:
        try:
            holder = self._holders.setdefault(who, Holder(who, self._lease))
            return self._do(holder, verb, words, options)
        except LeaseLost:
            return NOT_FOUND
        finally:
            self._settle()

    def _do(self, holder: Holder, verb: str, words: list[str], options: dict[str, int]) -> str:
        name = words[0] if words else ""
        match verb:
            case "put":
                self._put(name, options)
            case "reserve":
                return self._reserve(holder, options.get("wait", 0))
            case "leave":
                self.line.holder_gone(holder)
            case "pause":
                self._home.pause()
            case "resume":
                self._home.resume()
            case "wait":
                self._pass(float(name) * 1000)
            case "kick":
                return str(self._read(lambda done: self._home.people.kick("", int(name), done)))
            case "done" | "release" | "bury" | "touch":
                return self._end(holder, verb, self._numbers.get(name, 0), options)
            case _:
                return self._operate(verb, name)
        return "ok"

    def _end(self, holder: Holder, verb: str, number: int, options: dict[str, int]) -> str:
        match verb:
            case "done":
                return NOT_FOUND if self._home.finish(self.line, holder, [number]) else "ok"
            case "release":
                delay_ms = options.get("delay", 0) * 1000
                self._home.retry(self.line, holder, number, delay_ms, "again")
            case "bury":
                self._home.bury(self.line, holder, number, "it is no good")
            case "touch":
                self.line.touch(holder, number)
        return "ok"

    def _operate(self, verb: str, name: str) -> str:
        people, number = self._home.people, self._numbers.get(name, 0)
        if verb == "delete":
            return "ok" if self._read(lambda done: people.delete(number, done)) else NOT_FOUND
        if verb == "kick-job":
            return "ok" if self._read(lambda done: people.kick_one(number, done)) else NOT_FOUND
        if name in STATES:
            found: list[Ticket] = []
            people.peek("", State[name.upper()], None, 1, lambda jobs, _: found.extend(jobs))
            self._settle()
            return found[0].body.decode() if found else NOT_FOUND
        ticket = self._find(number)
        if ticket is None:
            return NOT_FOUND
        return ticket.body.decode() if verb == "peek" else str(ticket.attempts)

    def _put(self, name: str, options: dict[str, int]) -> None:
        spec = JobSpec(
            name.encode(),
            options.get("pri", DEFAULT_PRIORITY),
            options.get("delay", 0) * 1000,
        )
        puts: Any = self._read(lambda done: self._home.put([spec], done))
        self._numbers[name] = puts[0].number

    def _reserve(self, holder: Holder, patience: int) -> str:
        end_ms = self._clock.now_ms + patience * 1000
        while True:
            taken = self.line.take(holder, 1)
            if taken:
                return taken[0].body.decode()
            if self._clock.now_ms >= end_ms:
                return NOTHING
            self._pass(50)

    def _pass(self, ms: float) -> None:
        self._clock.move(ms)
        self._settle()

    def counts(self) -> dict[str, int]:
        line = self.line
        return {
            "ready": line.ready.count,
            "delayed": line.delayed.count,
            "reserved": line.reserved,
            "dead": line.dead,
        }


def play_there(address: str, tube: str, steps: Sequence[str], lease: int = FOREVER) -> list[str]:
    """The transcript of beanstalkd; where the machine was too busy, another try."""
    for attempt in range(5):
        player = Theirs(address, f"{tube}-{attempt}", lease)
        with suppress(Late):
            try:
                return play(player, steps)
            finally:
                player.close()
    raise AssertionError(f"{tube}: this machine is too busy for a script with time")
