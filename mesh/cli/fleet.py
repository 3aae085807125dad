"""Processes of a command, demo or bench: started, listened to, and stopped by their own handles.

Each is told its role and the fleet's name, prints a JSON object per line, the first of which has
its id as "ready", and ends when its standard input does.

Leaving the fleet stops all of them, whatever happened: gently when all went well, else at once.
Each has a thread that reads its reports; it ends with the process.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import Any, Self

import mesh

__all__ = ["Fleet", "Process", "Trouble", "module_command"]

MAX_REPORTS = 10_000
"""Reports kept of one process: the scenes of the demo cause some hundreds."""

MAX_REMARKS = 20
"""Last other lines of a process, such as a traceback: they tell why it did not start."""

GOODBYE_SECONDS = 3.0
"""A process closes its node within a second; this allows for a busy machine."""


def module_command(module: str) -> tuple[str, ...]:
    """The program that runs this module; what lies in the current directory hides none."""
    return (sys.executable, "-P", "-m", module)


class Trouble(Exception):
    """The command cannot go on as planned."""


class Process:
    """One process and what it reported."""

    def __init__(
        self, role: str, popen: subprocess.Popen[bytes], changed: threading.Condition
    ) -> None:
        self.role = role
        self.id = ""
        self.reports: deque[dict[str, Any]] = deque(maxlen=MAX_REPORTS)
        self.remarks: deque[str] = deque(maxlen=MAX_REMARKS)
        self._popen = popen
        self._changed = changed
        self._reader = threading.Thread(target=self._read, name=f"fleet-{role}", daemon=True)
        self._reader.start()

    def __str__(self) -> str:
        return f"{self.role}/{self.id[:8]}" if self.id else self.role

    def got(self, kind: str) -> list[Any]:
        """The data of the reports of one kind, in their order."""
        return [report.get("data") for report in list(self.reports) if report.get("got") == kind]

    @property
    def is_running(self) -> bool:
        return self._popen.poll() is None

    def kill(self) -> int:
        """SIGKILL, if it still runs: it cannot say goodbye. Returns its exit code."""
        self._popen.kill()
        return self._end()

    def dismiss(self) -> None:
        """Let it leave: its standard input ends."""
        stdin = self._popen.stdin
        if stdin is not None and not stdin.closed:
            stdin.close()

    def wait(self) -> int | None:
        """Its exit code, None when it does not end in time."""
        try:
            self._popen.wait(GOODBYE_SECONDS)
        except subprocess.TimeoutExpired:
            return None
        return self._end()

    def _end(self) -> int:
        code = self._popen.wait()
        self.dismiss()
        self._reader.join()
        return code

    def _read(self) -> None:
        stdout = self._popen.stdout
        if stdout is None:
            return
        with stdout:
            for line in stdout:
                self._take(line.decode(errors="replace").strip())
        self._popen.wait()
        with self._changed:
            self._changed.notify_all()

    def _take(self, line: str) -> None:
        try:
            report = json.loads(line)
        except ValueError:
            report = None
        with self._changed:
            if isinstance(report, dict):
                self.id = report.get("ready", self.id)
                self.reports.append(report)
            else:
                self.remarks.append(line)
            self._changed.notify_all()


class Fleet:
    """The processes of one run, in the order they were started.

    :param name: their last argument, after the role
    :param command: their program
    :param environment: variables of theirs besides our own
    """

    def __init__(
        self, name: str, command: Sequence[str], environment: Mapping[str, str] | None = None
    ) -> None:
        self._name = name
        self._command = tuple(command)
        self._environment = _environment() | dict(environment or {})
        self._changed = threading.Condition()
        self.processes: list[Process] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop(gently=error is None)

    def start(self, roles: Sequence[str], timeout: float) -> None:
        """Start a process for each role and wait until all are ready. Raises Trouble."""
        for role in roles:
            # In a session of its own Ctrl-C does not reach it: it is stopped by its handle.
            popen = subprocess.Popen(  # noqa: S603  this program itself, and no shell
                [*self._command, role, self._name],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=self._environment,
                start_new_session=True,
            )
            self.processes.append(Process(role, popen, self._changed))
        started = self.processes[-len(roles) :]
        self.wait_until(
            lambda: all(p.id for p in started) or not all(p.is_running for p in started), timeout
        )
        for process in started:
            if not process.is_running:
                code = process.wait()
                said = " / ".join(process.remarks) or "nothing"
                raise Trouble(f"the process {process.role} ended with {code}; it said: {said}")
        if waiting := [process.role for process in started if not process.id]:
            raise Trouble(f"not ready after {timeout:g} s: {', '.join(waiting)}")

    def of(self, role: str) -> list[Process]:
        """The running processes of a role, at least one. Raises Trouble."""
        found = [p for p in self.processes if p.role == role and p.is_running]
        if not found:
            raise Trouble(f"no process of the role {role} is running any more")
        return found

    @property
    def running(self) -> list[Process]:
        return [process for process in self.processes if process.is_running]

    def wait_until(self, is_so: Callable[[], bool], timeout: float) -> bool:
        """Until reports make it so; whether they did in time (seconds)."""
        deadline = monotonic() + timeout
        with self._changed:
            while not is_so():
                left = deadline - monotonic()
                if left <= 0 or not self._changed.wait(left):
                    return is_so()
        return True

    def stop(self, *, gently: bool = True) -> list[int | None]:
        """Stop what still runs; gently: by goodbye first. The exit codes, None for killed ones."""
        running = self.running
        try:
            for process in running:
                if gently:
                    process.dismiss()
                else:
                    process.kill()
            return [process.wait() for process in running]
        finally:
            # Some may have ignored the goodbye, or Ctrl-C ended the wait for them.
            for process in self.processes:
                process.kill()


def _environment() -> dict[str, str]:
    """Ours, and the place where this very ``mesh`` is."""
    paths = [str(Path(mesh.__file__).parent.parent), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in paths if path)}
