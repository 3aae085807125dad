"""Nodes in processes of their own, driven from a test, and the waiting that goes with them.

A ``NodeProcess`` runs ``tests.net.agent``, which makes one node and obeys commands that arrive as
JSON lines. Everything has a deadline, everything is stopped by its own handle, and a process whose
standard error shows a crash fails the test that started it.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import queue
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

__all__ = [
    "PROCESS_START",
    "AgentError",
    "NodeProcess",
    "Script",
    "free_ports",
    "halt",
    "until",
    "until_async",
]

ROOT = Path(__file__).parents[2]
POLL = 0.005
PROCESS_START = 60.0
"""Seconds for an interpreter to start and import everything on a machine under load."""

T = TypeVar("T")

_CRASHES = ("Traceback (most recent call last)", "Assertion failed", "Fatal Python error")


def until(condition: Callable[[], T], within: float = 10.0, what: str = "the condition") -> T:
    """Poll until ``condition()`` is true and return what it gave."""
    deadline = time.monotonic() + within
    while not (value := condition()):
        assert time.monotonic() < deadline, f"{what} did not come within {within:g} s"
        time.sleep(POLL)
    return value


async def until_async(
    condition: Callable[[], T], within: float = 10.0, what: str = "the condition"
) -> T:
    """``until`` that lets the loop go on."""
    deadline = time.monotonic() + within
    while not (value := condition()):
        assert time.monotonic() < deadline, f"{what} did not come within {within:g} s"
        await asyncio.sleep(POLL)
    return value


def free_ports(count: int) -> list[int]:
    """Ports that nobody has now, below those that the system gives out by itself."""
    ports: list[int] = []
    for port in random.sample(range(20_000, 30_000), 100):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            ports.append(port)
        if len(ports) == count:
            return ports
    raise AssertionError("there are not enough free ports")


class AgentError(AssertionError):
    """A command failed in the process: ``kind`` is the class of the error there."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(f"{kind}: {text}")
        self.kind = kind
        self.text = text


def key_for_tests() -> dict[str, str]:
    """Most tests of nodes hold with a key as well: ``TESTS_KEY=words pytest tests/net``."""
    key = os.environ.get("TESTS_KEY")
    return {"MESH_KEY": key, "MESH_HOST": "127.0.0.1"} if key else {}


class Script:
    """An interpreter with a module or a program text; its standard error goes to a file.

    ``prefix`` is a program that becomes it: one that enters another network namespace, say.
    """

    def __init__(
        self,
        arguments: Iterable[str],
        environment: dict[str, str] | None = None,
        prefix: Sequence[str] = (),
    ) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  read until the process is gone
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("MESH_")}
        inherited |= key_for_tests()
        self.process = subprocess.Popen(
            [*prefix, sys.executable, "-X", "faulthandler", *arguments],
            cwd=ROOT,
            env=inherited | (environment or {}),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )
        self.pid = self.process.pid

    @property
    def errors(self) -> str:
        """What the process has written to standard error so far."""
        size = os.fstat(self._errors.fileno()).st_size
        return os.pread(self._errors.fileno(), size, 0).decode(errors="replace")

    def wait(self, within: float = 5.0) -> int:
        """The exit code. Negative for a signal."""
        try:
            return self.process.wait(within)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the process still runs after {within:g} s") from None

    def signal(self, number: signal.Signals) -> None:
        """Send it. A SIGSTOP comes back when every thread stands still."""
        if number == signal.SIGSTOP:
            halt(self.pid)
        else:
            self.process.send_signal(number)

    def kill(self) -> None:
        """``kill -9``, and reap."""
        self.process.kill()
        self.process.wait()

    def check(self) -> None:
        """Fail if the process shows signs of a crash."""
        errors = self.errors
        assert not any(sign in errors for sign in _CRASHES), errors

    def end(self) -> None:
        """Whatever its state: gone and everything given back."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except BrokenPipeError:
                    continue  # a command that the dead process never read
        self._errors.close()


def halt(pid: int) -> None:
    """SIGSTOP, and wait until every thread stands still.

    On a busy machine that takes a while: the thread that gets the signal has to run to see it, and
    until then the others go on, and answer.
    """
    os.kill(pid, signal.SIGSTOP)
    until(lambda: all(state in "TZ" for state in _thread_states(pid)))


def _thread_states(pid: int) -> list[str]:
    """The letters of proc(5), one for each thread that still is."""
    states = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            states.append((task / "stat").read_text().rpartition(")")[2].split()[0])
    return states


class NodeProcess(Script):
    """A node in its own process; ``ask`` runs one of the agent's commands there."""

    def __init__(
        self,
        settings: dict[str, Any],
        environment: dict[str, str] | None = None,
        prefix: Sequence[str] = (),
    ) -> None:
        super().__init__(["-m", "tests.net.agent", json.dumps(settings)], environment, prefix)
        self._ids = itertools.count(1)
        self._replies: dict[int, queue.SimpleQueue[dict[str, Any]]] = {}
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._hello: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._reader.start()
        self.id = ""
        self.address = ""
        self.work_port = 0
        """The port of its work socket, when it gives out another."""

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            reply = json.loads(line)
            if "number" in reply:
                self._replies[reply["number"]].put(reply)
            else:
                self._hello.put(reply)

    def wait_started(self) -> NodeProcess:
        """Until its node is started; the process itself starts while the test goes on."""
        try:
            hello = self._hello.get(timeout=PROCESS_START)
        except queue.Empty:
            self.signal(signal.SIGABRT)  # faulthandler writes where it stands
            self.wait()
            raise AssertionError(f"the node did not start: {self.errors}") from None
        self.id, self.address = hello["id"], hello["address"]
        self.work_port = hello["work_port"]
        return self

    def begin(self, command: str, **arguments: Any) -> Callable[[float], Any]:
        """Send a command; the result is a function that waits for its outcome."""
        number = next(self._ids)
        replies: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._replies[number] = replies
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps([number, command, arguments]) + "\n")
        self.process.stdin.flush()

        def outcome(within: float) -> Any:
            try:
                reply = replies.get(timeout=within)
            except queue.Empty:
                raise AssertionError(
                    f"{command} gave no answer within {within:g} s: {self.errors}"
                ) from None
            if "error" in reply:
                raise AgentError(*reply["error"])
            return reply["value"]

        return outcome

    def ask(self, command: str, within: float = 15.0, **arguments: Any) -> Any:
        """Run a command there and return its outcome. Raises AgentError for what it raised."""
        return self.begin(command, **arguments)(within)

    def close(self, within: float = 10.0) -> None:
        """End it in order, and look at how it ended."""
        self.ask("close", within)
        assert self.wait(within) == 0, self.errors
        self.check()

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self._reader.join()
        super().end()
