"""Real nodes for the tests of `discovery`: in this process, in others, in network namespaces.

Other nodes may run on this machine, so tests of mDNS look for their own ids only, and tests of the
rendezvous use a port of their own.
"""

import asyncio
import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import IO, Any

import pytest
import uvloop

from discovery import Announcement

ROOT = Path(__file__).parents[3]
LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}
on_both_loops = pytest.mark.parametrize("loop", LOOPS)
needs_namespaces = pytest.mark.skipif(
    shutil.which("unshare") is None
    or subprocess.run(["unshare", "-n", "true"], capture_output=True).returncode != 0,
    reason="network namespaces need privileges",
)

NODE = """
import asyncio, json, sys, uvloop
from discovery import *

async def main(node_id, host, source):
    def found(candidate):
        print(json.dumps({"id": candidate.id, "mesh": candidate.mesh,
                          "addresses": candidate.addresses}), flush=True)
    finder = Discovery([eval(source)], found)
    await finder.start(Announcement(node_id, "test", 1, (host,), 5000))
    print(json.dumps({"states": [[s.status, s.reason] for s in finder.states().values()]}),
          flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await finder.close()

loop = uvloop.new_event_loop if sys.argv[1] == "uvloop" else asyncio.new_event_loop
with asyncio.Runner(loop_factory=loop) as runner:
    runner.run(main(*sys.argv[2:]))
"""


def new_id() -> str:
    return uuid.uuid4().hex


def announcement(node_id: str, **fields: Any) -> Announcement:
    return Announcement(node_id, "test", 1, **{"hosts": ("127.0.0.1",), "port": 5000} | fields)


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def run(loop: str, main: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(main)


async def until(condition: Callable[[], object], within: float = 5.0) -> None:
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, "not in time"
        await asyncio.sleep(0.005)


def descriptors() -> set[str]:
    """The open files of this process; the directory that lists them is not one of them."""
    links = set()
    for number in os.listdir("/dev/fd"):
        with contextlib.suppress(OSError):
            links.add(f"{number} {os.readlink(f'/dev/fd/{number}')}")
    return {link for link in links if "/fd" not in link}


class Node:
    """A node in a process of its own, perhaps in a network namespace of its own."""

    def __init__(
        self,
        source: str,
        loop: str = "asyncio",
        inside: tuple[str, ...] = (),
        host: str = "127.0.0.1",
    ) -> None:
        self.id = new_id()
        self.lines: list[dict[str, Any]] = []
        self.process = subprocess.Popen(
            [*inside, sys.executable, "-W", "error", "-c", NODE, loop, self.id, host, source],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self._reader = threading.Thread(target=self._read, args=(self.process.stdout,))
        self._reader.start()

    def _read(self, out: IO[str]) -> None:
        for line in out:
            self.lines.append(json.loads(line) | {"at": time.monotonic()})

    def sees(self, other: "Node") -> dict[str, Any] | None:
        return next((line for line in self.lines if line.get("id") == other.id), None)

    @property
    def states(self) -> list[list[str]] | None:
        return next((line["states"] for line in self.lines if "states" in line), None)

    def stop(self) -> str:
        assert self.process.stdin is not None
        assert self.process.stderr is not None
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._reader.join()
        errors = self.process.stderr.read()
        self.process.stderr.close()
        assert self.process.stdout is not None
        self.process.stdout.close()
        return errors


def wait(condition: Callable[[], object], within: float = 10.0) -> None:
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.005)


@contextlib.contextmanager
def nodes(*made: Node) -> Iterator[tuple[Node, ...]]:
    """Stops the nodes, which must have written nothing to their standard error."""
    errors = []
    try:
        yield made
    finally:
        errors = [node.stop() for node in made]
    assert not any(errors), errors
    assert [node.process.returncode for node in made] == [0] * len(made)


@contextlib.contextmanager
def namespace(*within: str) -> Iterator[tuple[int, tuple[str, ...]]]:
    """A network namespace of its own, as the process that holds it and the way inside."""
    with subprocess.Popen([*within, "unshare", "-n", "cat"], stdin=subprocess.PIPE) as holder:
        path = f"/proc/{holder.pid}/ns/net"
        outside = {os.stat("/proc/self/ns/net").st_ino}
        if within:
            outside.add(os.stat(within[1].removeprefix("--net=")).st_ino)
        wait(lambda: os.stat(path).st_ino not in outside)
        inside = ("nsenter", f"--net={path}")
        subprocess.run([*inside, "ip", "link", "set", "lo", "up"], check=True)
        yield holder.pid, inside
