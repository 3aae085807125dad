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
from typing import Protocol, TypeVar

import greenstalk

from mesh.stores import MemoryStore
from patterns.queues.errors import JobGone, LeaseLost
from patterns.queues.line import Holder, Line
from patterns.queues.stores import Then
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


class Ours:
    """A line over a store in memory, with a clock that is moved by hand."""

    def __init__(self, lease: int = FOREVER) -> None:
        self.now_ms = 1_000
        self._soon: deque[Callable[[], None]] = deque()
        self._store = MemoryStore()
        self._store.open()
        self._store.start(self._soon.append, lambda _, function: self._soon.append(function), 0)
        self._jobs = self._store.line("jobs", "")
        self.line = Line(self._jobs, lambda: self.now_ms, is_ready=lambda: None)
        self._lease = lease
        self._holders: dict[str, Holder] = {}
        self._numbers: dict[str, int] = {}

    # What depends on how jobs come into a store.

    def _keep(self, ticket: Ticket, then: Then) -> None:
        self._jobs.add(ticket, then)

    def _settle(self) -> None:
        """All that was to be called soon."""
        while self._soon:
            self._soon.popleft()()

    def _read(self, ask: Callable[[Callable[[Found], None]], None]) -> Found:
        found: list[Found] = []
        ask(found.append)
        self._settle()
        return found[0]

    def holder(self, who: str) -> Holder:
        return self._holders.setdefault(who, Holder(who, self._lease))

    def state(self, name: str) -> State:
        """Where a job is."""
        number = self._numbers.get(name, 0)
        if any(number in holder.held for holder in self._holders.values()):
            return State.RESERVED
        ticket = self._find(number)
        return State.GONE if ticket is None else ticket.state

    def _find(self, number: int) -> Ticket | None:
        return self._read(lambda done: self._jobs.find(number, done))

    def _page(self, state: State, most: int) -> list[Ticket]:
        """The first ones of a state; in the store a reserved job is ready."""
        limit = most + self.line.reserved
        page = self._read(lambda done: self._jobs.page(state, None, limit, done))
        held = {number for holder in self._holders.values() for number in holder.held}
        return [ticket for ticket in page if ticket.number not in held][:most]

    def do(self, who: str, verb: str, words: list[str], options: dict[str, int]) -> str:
        self.line.advance()
        self._settle()
        try:
            return self._do(self.holder(who), verb, words, options)
        except (LeaseLost, JobGone):
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
            case "pause" | "resume":
                self.line.is_paused = verb == "pause"
            case "wait":
                self._pass(round(float(name) * 1000))
            case "kick":
                return str(self._kick(int(name)))
            case "peek" if name in STATES:
                first = self._page(State[name.upper()], 1)
                return first[0].body.decode() if first else NOT_FOUND
            case "done" | "release" | "bury" | "touch":
                self._end(holder, verb, self._numbers.get(name, 0), options)
            case _:
                return self._operate(verb, self._numbers.get(name, 0))
        return "ok"

    def _end(self, holder: Holder, verb: str, number: int, options: dict[str, int]) -> None:
        match verb:
            case "done":
                self.line.finish(holder, number)
            case "release":
                self.line.give_back(holder, number, options.get("delay", 0))
            case "bury":
                self.line.bury(holder, number, "it is no good")
            case "touch":
                self.line.touch(holder, number)

    def _operate(self, verb: str, number: int) -> str:
        ticket = self._find(number)
        if ticket is None:
            return NOT_FOUND
        match verb:
            case "delete":
                self.line.delete(ticket)
            case "kick-job":
                return "ok" if self.line.kick([ticket]) else NOT_FOUND
            case "peek":
                return ticket.body.decode()
            case "attempts":
                return str(ticket.attempts)
        return "ok"

    def _put(self, name: str, options: dict[str, int]) -> None:
        number = self._numbers[name] = self._store.last_number + 1
        delay = options.get("delay", 0)
        ticket = Ticket(
            number,
            name.encode(),
            self.now_ms,
            priority=options.get("pri", DEFAULT_PRIORITY),
            due_ms=self.now_ms + delay * 1000 if delay else 0,
        )
        self._keep(ticket, lambda error: self.line.put(ticket))

    def _reserve(self, holder: Holder, patience: int) -> str:
        end_ms = self.now_ms + patience * 1000
        while True:
            self._settle()
            taken = self.line.take(holder, 1)
            if taken:
                return taken[0].body.decode()
            if self.now_ms >= end_ms:
                return NOTHING
            self._pass(50)

    def _pass(self, ms: int) -> None:
        self.now_ms += ms
        self.line.advance()

    def _kick(self, most: int) -> int:
        """Dead ones if there are any, else delayed ones."""
        state = State.DEAD if self.line.dead else State.DELAYED
        return self.line.kick(self._page(state, most))

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
