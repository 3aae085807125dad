"""Servers that a run starts: children of the role `broker`, which end with it, whatever ends it."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.systems import SETUP_TIMEOUT_S

__all__ = ["cpu_s_of", "end_with_parent", "listening"]

STOP_TIMEOUT_S = 2.0
POLL_S = 0.005
ATTEMPTS = 5
"""At a free port: another program may take it between our look and the server's."""

PR_SET_PDEATHSIG = 1


@contextmanager
def listening(
    command: Callable[[int], list[str]], folder: str
) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A server and the port at which it listens; `command` makes its arguments, given a port."""
    for _ in range(ATTEMPTS):
        port = free_port()
        with Path(folder, "log").open("wb") as log:
            server = subprocess.Popen(
                command(port), stdout=log, stderr=log, cwd=folder, preexec_fn=end_with_parent()
            )
        try:
            if listens(server, port):
                yield server, port
                return
        finally:
            stop(server)
    log_text = Path(folder, "log").read_text(errors="replace").strip()
    raise TimeoutError(f"{command(0)[0]} does not listen: {log_text[-300:] or 'it says nothing'}")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def listens(server: subprocess.Popen[bytes], port: int) -> bool:
    """Wait until it does; False if it has ended."""
    deadline = time.monotonic() + SETUP_TIMEOUT_S
    while time.monotonic() < deadline and server.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return server.poll() is None
        time.sleep(POLL_S)
    return False


def stop(server: subprocess.Popen[bytes]) -> None:
    server.terminate()
    try:
        server.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


def end_with_parent() -> Callable[[], None] | None:
    """What a child calls to be killed when its parent dies, on Linux."""
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl  # looked up here: between fork and exec less is safe

    def die_with_parent() -> None:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)

    return die_with_parent


def cpu_s_of(pid: int) -> float:
    """User and system time of a process that runs; Linux only, elsewhere 0."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return 0.0
    fields = text.rpartition(")")[2].split()
    return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")
