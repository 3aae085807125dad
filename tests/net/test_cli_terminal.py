"""``meshctl`` on a terminal: a pty of a given width, and Ctrl-C typed into it."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator

import pytest
from rich.cells import cell_len

import mesh
from tests.net.processes import ROOT
from tests.net.test_cli import RUN_SECONDS

MakeNode = Callable[..., mesh.Node]

STYLE = re.compile(r"\x1b\[[\d;]*m")
MOVE = re.compile(r"\x1b\[[\d;?]*[A-Za-z]")


class Terminal:
    """A run of ``meshctl`` whose stdin, stdout and stderr are a terminal."""

    def __init__(self, arguments: list[str], columns: int, environment: dict[str, str]) -> None:
        self.descriptor, side = pty.openpty()
        fcntl.ioctl(side, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        inherited = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "NO_COLOR")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "mesh.cli", *arguments],
            cwd=ROOT,
            env=inherited | {"TERM": "xterm"} | environment,
            stdin=side,
            stdout=side,
            stderr=side,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(side)
        self.shown = ""

    def until(self, text: str) -> None:
        """Read until it shows this."""
        deadline = time.monotonic() + RUN_SECONDS
        while text not in self.shown:
            assert time.monotonic() < deadline, self.shown
            self._read()

    def _read(self) -> bool:
        ready, _, _ = select.select([self.descriptor], [], [], 0.1)
        if not ready:
            return True
        try:
            part = os.read(self.descriptor, 65536)
        except OSError:  # the other side is closed
            return False
        self.shown += part.decode()
        return bool(part)

    def type(self, text: str) -> None:
        os.write(self.descriptor, text.encode())

    def wait(self) -> int:
        deadline = time.monotonic() + RUN_SECONDS
        while self._read():
            assert time.monotonic() < deadline, self.shown
        return self.process.wait(RUN_SECONDS)

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self.descriptor)


@pytest.fixture
def terminal(mesh_name: str) -> Iterator[Callable[..., Terminal]]:
    """Opens terminals of this test's mesh; they are closed with the test."""
    terminals: list[Terminal] = []

    def open_terminal(*arguments: str, columns: int, **environment: str) -> Terminal:
        environment["MESH_NAME"] = mesh_name
        terminals.append(Terminal(list(arguments), columns, environment))
        return terminals[-1]

    yield open_terminal
    for one in terminals:
        one.end()


def test_peers_watch_keeps_a_table_that_fits_until_ctrl_c(
    terminal: Callable[..., Terminal], make_node: MakeNode
) -> None:
    columns = 40
    make_node("inventory-service", tags={"zone": "eu-west-1", "rack": "17"}).start()
    here = terminal("peers", "--watch", columns=columns, NO_COLOR="1")
    here.until("zone=eu-west-1")
    shop = make_node("shop").start()
    here.until("shop")
    shop.close()
    here.type("\x03")
    assert here.wait() == 130
    assert not STYLE.search(here.shown), "NO_COLOR"
    lines = MOVE.sub("\n", here.shown).replace("\r", "\n").splitlines()
    table = [line for line in lines if not line.startswith("meshctl: watching")]
    assert max(map(cell_len, table)) <= columns
    last = here.shown.rpartition("NAME")[2]
    assert "inventory-service" in last
    assert "Traceback" not in here.shown


def test_without_no_color_the_head_is_bold_and_sums_follow_ctrl_c_on_a_line_of_their_own(
    terminal: Callable[..., Terminal], make_node: MakeNode
) -> None:
    make_node("calc").start()
    here = terminal("ping", "--count", "0", columns=80)
    here.until("calc/")
    here.type("\x03")
    assert here.wait() == 130
    assert STYLE.search(here.shown)
    after = STYLE.sub("", here.shown.rpartition("^C")[2])
    assert re.match(r"\r +\rPEER", after), "the ^C is wiped out"
