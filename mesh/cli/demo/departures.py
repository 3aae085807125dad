"""The scenes in which nodes go: killed under calls, with a goodbye, and all at the end."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence
from time import monotonic

import mesh
from mesh.cli.demo.stage import PATIENCE_SECONDS, Stage
from mesh.cli.fleet import Process
from mesh.cli.text import count_of

__all__ = ["crash", "leave", "stop"]

CALLERS = 8
"""Threads that call all the time."""

CALLS_BEFORE = 60
CALLS_AFTER = 60
"""Calls before a process is killed, and after it was seen to be gone: some tens for each one."""


class _Callers:
    """Threads that call ``calc.work`` with ``retry=True`` until the ``with`` ends."""

    def __init__(self, node: mesh.Node) -> None:
        self._service = node.service("calc", retry=True, timeout=PATIENCE_SECONDS)
        self._changed = threading.Condition()
        self._is_over = False
        self._threads = [
            threading.Thread(target=self._call, name=f"demo-caller-{number}", daemon=True)
            for number in range(CALLERS)
        ]
        self.served: list[tuple[float, str]] = []
        """When each call that was answered began (monotonic), and the id of who answered."""
        self.errors: list[str] = []

    def __enter__(self) -> _Callers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._is_over = True
        for thread in self._threads:
            thread.join()

    def wait_for(self, answers: int) -> None:
        """Until that many calls more were answered, or time is up."""
        with self._changed:
            wanted = len(self.served) + answers
            self._changed.wait_for(lambda: len(self.served) >= wanted, PATIENCE_SECONDS)

    def served_by(self, *, begun_after: float) -> Counter[str]:
        """Answers to calls that began after that moment, by the id of who answered."""
        return Counter(id for begun, id in self.served if begun > begun_after)

    def _call(self) -> None:
        while not self._is_over:
            begun = monotonic()
            try:
                answer = self._service.work()
            except mesh.MeshError as error:
                self.errors.append(f"{type(error).__name__}: {error}")
                return
            with self._changed:
                self.served.append((begun, answer))
                self._changed.notify_all()


def crash(stage: Stage) -> None:
    victim = stage.fleet.of("calc")[0]
    with stage.node.watch() as events, _Callers(stage.node) as callers:
        callers.wait_for(CALLS_BEFORE)
        stage.fleet.wait_until(lambda: _in_flight(victim) > 0, PATIENCE_SECONDS)
        killed_at = monotonic()
        code = victim.kill()
        told = stage.events_until(events, victim, mesh.PeerFailed, killed_at)
        noticed_at = monotonic()
        callers.wait_for(CALLS_AFTER)
    done = len(victim.got("work done"))
    stage.check(
        f"{victim} answered calls until it was killed",
        done > 0 and code < 0,
        f"{count_of(done, 'call')}, {_in_flight(victim)} more in flight",
    )
    answered, failed = len(callers.served), len(callers.errors)
    stage.check(
        "every call with retry=True succeeded",
        failed == 0 and answered >= CALLS_BEFORE + CALLS_AFTER,
        f"{answered} of {answered + failed}" + (f"; {callers.errors[0]}" if failed else ""),
    )
    stage.check(
        "its death was noticed long before any timeout",
        bool(told) and isinstance(told[-1][1], mesh.PeerFailed),
        _story(told),
    )
    after = callers.served_by(begun_after=noticed_at)
    stage.check(
        "from then on the other replicas shared the calls",
        set(after) == {process.id for process in stage.fleet.of("calc")},
        " and ".join(str(number) for number in after.values()) or "no calls",
    )


def leave(stage: Stage) -> None:
    leaver = stage.fleet.of("calc")[0]
    with stage.node.watch() as events:
        began = monotonic()
        leaver.dismiss()
        told = stage.events_until(events, leaver, mesh.PeerLeft, began)
    code = leaver.wait()
    stage.check(
        f"{leaver} said goodbye, and nobody had to guess",
        [type(event) for _, event in told] == [mesh.PeerLeft] and code == 0,
        f"{_story(told)}, exit code {code}",
    )
    result = stage.node.call("calc.add", 20, 22)
    stage.check("the last replica goes on serving", result == 42, f"calc.add(20, 22) is {result!r}")


def _in_flight(process: Process) -> int:
    """Calls of ``work`` that it has begun and not ended."""
    return len(process.got("work begun")) - len(process.got("work done"))


def _story(told: Sequence[tuple[float, mesh.Event]]) -> str:
    return ", ".join(f"{type(e).__name__} after {ms:.0f} ms" for ms, e in told) or "no event"


def stop(stage: Stage) -> None:
    left = len(stage.fleet.running)
    codes = stage.fleet.stop()
    stage.check(
        f"the {left} processes that were left ended by themselves",
        codes == [0] * left and not stage.fleet.running,
        "exit codes " + ", ".join("none" if code is None else str(code) for code in codes),
    )
