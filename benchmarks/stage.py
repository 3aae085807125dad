"""The processes of one run: started, spoken to and stopped by their own handles.

Every wait for a report has a deadline, every process a lifetime after which it kills itself, and
leaving the stage stops whatever was started on it: end of input first, then SIGTERM, then SIGKILL.
"""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

ROOT: Final = Path(__file__).resolve().parent.parent
"""The folder in which `python -m benchmarks` works, and from which the workers import."""

READY_TIMEOUT_S = 20.0
"""For an interpreter to start, import and set up; twice the roles' own limit."""

REPORT_GRACE_S = 15.0
"""What a timed command may take beyond its seconds: draining, and the roles' own time-outs."""

LIFETIME_S = 120.0
"""A worker's life beyond its measured seconds; above all deadlines of one run together."""

STOP_GRACE_S = 3.0
"""For a worker to close after end of input; a node may take 1 s to flush and 1 s to close."""

TERMINATE_GRACE_S = 1.0

STDERR_TAIL_LINES = 4

READ_SIZE = 65_536


class RunFailed(Exception):
    """A process of this run died, said nothing in time, or said something impossible."""


class Actor:
    """One role in one process."""

    def __init__(self, role: str, argv: list[str]) -> None:
        self.role = role
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        self._process = subprocess.Popen(
            argv,
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            bufsize=0,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._in = self._process.stdin
        self._out = self._process.stdout
        self._buffer = b""

    def tell(self, **command: Any) -> None:
        """Send one command.

        Raises:
            RunFailed: the process is gone.
        """
        try:
            self._in.write(json.dumps(command).encode() + b"\n")
        except BrokenPipeError as error:
            raise self._failure("is gone") from error

    def expect(self, timeout_s: float = READY_TIMEOUT_S) -> dict[str, Any]:
        """The next report.

        Raises:
            RunFailed: none came within `timeout_s`, or the process ended.
        """
        deadline = time.monotonic() + timeout_s
        with selectors.DefaultSelector() as selector:
            selector.register(self._out, selectors.EVENT_READ)
            while b"\n" not in self._buffer:
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    raise self._failure(f"did not report within {timeout_s:g} s")
                data = os.read(self._out.fileno(), READ_SIZE)
                if not data:
                    raise self._failure("ended early")
                self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        report: dict[str, Any] = json.loads(line)
        return report

    def close_input(self) -> None:
        """Ask the process to end."""
        self._in.close()

    def stop(self) -> None:
        """Wait for the process to end, and make it end."""
        for patience_s, end in (
            (STOP_GRACE_S, self._process.terminate),
            (TERMINATE_GRACE_S, self._process.kill),
        ):
            try:
                self._process.wait(patience_s)
                break
            except subprocess.TimeoutExpired:
                end()
        self._process.wait()
        self._out.close()
        self._stderr.close()

    def _failure(self, what: str) -> RunFailed:
        self._stderr.seek(0)
        lines = self._stderr.read().decode(errors="replace").splitlines()
        telling = [line.strip() for line in lines if line.strip(" ^~")]
        tail = " | ".join(telling[-STDERR_TAIL_LINES:])
        return RunFailed(f"{self.role} {what}: {tail or 'nothing on stderr'}")


class Stage:
    """A context manager for one run of one system.

    Args:
        system: module in `benchmarks.systems`.
        seconds: measured time, which each worker's lifetime is added to.
        pin: the CPU that all processes share, or `None` for any.
    """

    def __init__(self, system: str, seconds: float, pin: int | None) -> None:
        self._system = system
        self._lifetime_s = seconds + LIFETIME_S
        self._pin = "-" if pin is None else str(pin)
        self._run = uuid.uuid4().hex[:12]
        self._actors: list[Actor] = []

    def start(self, role: str, **params: Any) -> Actor:
        """Start a role; returns at once, its first report says that it is ready."""
        encoded = json.dumps({"run": self._run, **params})
        lifetime = f"{self._lifetime_s:g}"
        argv = [sys.executable, "-m", "benchmarks.worker"]
        actor = Actor(role, [*argv, self._system, role, lifetime, self._pin, encoded])
        self._actors.append(actor)
        return actor

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for actor in self._actors:
            actor.close_input()
        for actor in self._actors:
            actor.stop()
