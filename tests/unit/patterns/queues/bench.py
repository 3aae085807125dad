"""A queue at its home on virtual time, for tests; over a store that does what it is told."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from mesh.testing.clock import SimClock
from patterns.errors import MeshError
from patterns.queues.home import Home
from patterns.queues.jobspec import HomeOptions, JobSpec, Put
from patterns.queues.line import Holder
from patterns.queues.outcomes import Outcome
from patterns.queues.ticket import Ticket
from tests.unit.patterns.queues.laterstore import LaterStore

__all__ = ["Bench"]

Answer = TypeVar("Answer")

ROUNDS = 200


class Bench:
    """``pump`` lets the store do all that it was asked for."""

    def __init__(self, store: Any = None, **options: Any) -> None:
        self.clock = SimClock()
        self.store = LaterStore() if store is None else store
        self.options = HomeOptions(**options)
        self.heard: list[Outcome] = []
        self.home = self._home([])

    def _home(self, groups: list[str]) -> Home:
        home = Home("emails", self.store, self.clock, self.options)
        home.open(groups)
        self.pump()
        return home

    def pump(self) -> None:
        for _ in range(ROUNDS):
            if self.store.is_idle:
                return
            self.store.commit()
        raise AssertionError("the store has no rest")

    def wait(self, seconds: float) -> None:
        end = self.clock.now() + seconds
        self.pump()
        while self.clock.step(end):
            self.pump()

    def restart(self) -> None:
        """The home ends with everything written, and there is another."""
        self.home.close()
        self.pump()
        self.lose_power()

    def lose_power(self) -> None:
        self.home.close()
        self.store = self.store.after_power_loss()
        self.home = self._home([group for name, group in self.store.open() if name == "emails"])

    # What people and parts ask for.

    def start_put(self, *specs: JobSpec) -> list[Sequence[Put] | MeshError]:
        """The answer is in the list when it is there."""
        ends: list[Sequence[Put] | MeshError] = []
        self.home.put(specs, ends.append)
        return ends

    def put(self, *specs: JobSpec) -> list[Put]:
        ends = self.start_put(*specs)
        self.pump()
        (end,) = ends
        if isinstance(end, MeshError):
            raise end
        assert len(end) == len(specs)
        return list(end)

    def put_one(self, body: bytes = b"x", **options: Any) -> int:
        return self.put(JobSpec(body, **options))[0].number

    def asked(self, ask: Callable[..., None], *args: Any) -> Any:
        """What is answered to a question."""
        answers: list[Any] = []
        ask(*args, lambda *answer: answers.append(answer))
        self.pump()
        (answer,) = answers
        return answer[0] if len(answer) == 1 else answer

    def watch(self, number: int) -> list[Outcome]:
        heard: list[Outcome] = []
        self.home.watch(number, heard.append)
        return heard

    def take(self, holder: Holder, most: int = 1_000, group: str = "") -> list[Ticket]:
        taken: list[Ticket] = []
        for _ in range(ROUNDS):
            more = self.home.group(group).take(holder, most - len(taken))
            taken += more
            self.pump()
            if not more:
                return taken
        return taken

    def work_off(self, group: str = "", *, result: bytes | None = None) -> list[int]:
        """Take all there is, and finish it; returns the numbers, in order."""
        holder = Holder("worker", 60.0)
        numbers = [ticket.number for ticket in self.take(holder, group=group)]
        results = {} if result is None else dict.fromkeys(numbers, result)
        assert self.home.finish(self.home.group(group), holder, numbers, results) == []
        self.pump()
        return numbers

    def notes(self) -> set[str]:
        return {note for _, note in self.store.kept}

    def counts(self, group: str = "") -> tuple[int, int, int]:
        line = self.home.group(group)
        return line.waiting, line.reserved, line.dead
