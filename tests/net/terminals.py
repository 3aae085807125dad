"""Real terminals for tests: a program in tmux, its keys, its screen and its end.

Each terminal is a tmux server of its own on a socket of its own, so nothing is shared with other
tests, nor with whoever sits at this machine. A ``prefix`` starts the program somewhere else, such
as ``("ip", "netns", "exec", "east")``; tmux itself stays here.

Surprise: tmux outlives the process that starts it, so ``end`` stops it by its socket, and then
makes sure that the program is gone.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.net.processes import ROOT, until

__all__ = ["TMUX", "Terminal", "opened"]

TMUX = shutil.which("tmux")
COMMAND_SECONDS = 20.0
"""One tmux command, on a machine under load; it takes some milliseconds."""

SHOWN = 30.0
"""Until a screen shows what is expected: a start of the interpreter is part of it."""

ENDING_SECONDS = 5.0
"""For a program whose window was closed; then it is killed."""

SETTINGS = """
set -g status off
set -g escape-time 0
set -g default-terminal tmux-256color
"""

SHELL = ("sh", "-c", '"$@"; echo "[ended with $?]"; read -r _', "sh")
"""What tmux runs: the program, and then its exit code, on the screen that it has left."""

ENDED = re.compile(r"\[ended with (\d+)\]")


class Terminal:
    """A program in a terminal of ``columns`` and ``rows``."""

    def __init__(
        self,
        arguments: Sequence[str],
        folder: Path,
        *,
        prefix: Sequence[str] = (),
        columns: int = 80,
        rows: int = 24,
        environment: dict[str, str] | None = None,
    ) -> None:
        """``arguments`` are the interpreter's; ``folder`` is for the socket, and is short-lived."""
        assert TMUX is not None
        settings = folder / "tmux.conf"
        settings.write_text(SETTINGS)
        # A socket's path is at most some 100 bytes long, so it is relative to where tmux runs.
        self._folder = folder
        self._server = [TMUX, "-S", f"{uuid.uuid4().hex[:8]}.sock", "-u", "-f", str(settings)]
        self._environment = {k: v for k, v in os.environ.items() if not k.startswith("MESH_")}
        self._environment.pop("TMUX", None)
        given = {"PYTHONPATH": str(ROOT), "PYTHONUTF8": "1", "COLORTERM": "truecolor"}
        self._environment |= given | (environment or {})
        size = ("-x", str(columns), "-y", str(rows))
        self._tmux("new-session", "-d", *size, "--", *SHELL, *prefix, sys.executable, *arguments)
        self._pid = int(self._ask("#{pane_pid}"))
        self._tty = self._ask("#{pane_tty}")

    @property
    def coloured_screen(self) -> str:
        """The screen with its escape sequences."""
        return self._tmux("capture-pane", "-p", "-e")

    def _tmux(self, *arguments: str, text: str | None = None) -> str:
        done = subprocess.run(
            [*self._server, *arguments],
            cwd=self._folder,
            env=self._environment,
            input=text,
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def _ask(self, what: str) -> str:
        return self._tmux("display-message", "-p", what).strip()

    # What a person does.

    def type(self, text: str) -> None:
        """Type a text and Enter."""
        self._tmux("send-keys", "-l", "--", text)
        self.key("Enter")

    def key(self, *names: str) -> None:
        """Press keys by their tmux names, such as ``C-n`` or ``PPage``."""
        self._tmux("send-keys", *names)

    def paste(self, text: str) -> None:
        """Paste as a terminal does into a program that has asked for brackets around it."""
        self._tmux("load-buffer", "-", text=text)
        self._tmux("paste-buffer", "-p")

    def resize(self, columns: int, rows: int) -> None:
        """Change the size of the window, until the program's terminal has it.

        tmux puts that off while it is asked things, so it is looked at without asking.
        """
        self._tmux("resize-window", "-x", str(columns), "-y", str(rows))
        tty = os.open(self._tty, os.O_RDONLY | os.O_NOCTTY | os.O_NONBLOCK)
        try:
            until(lambda: os.get_terminal_size(tty) == (columns, rows), COMMAND_SECONDS)
        finally:
            os.close(tty)

    def terminate(self) -> None:
        """What a service manager does: SIGTERM, to the program alone."""
        for pid in _children(self._pid):
            os.kill(pid, signal.SIGTERM)

    # What a person sees.

    @property
    def screen(self) -> str:
        """The screen's rows, without blanks at their ends."""
        return self._tmux("capture-pane", "-p")

    def until(self, condition: Callable[[str], object], what: str) -> str:
        """Wait until the screen is as wanted; returns it. The failure shows the screen."""
        last = ""

        def is_so() -> bool:
            nonlocal last
            last = self.screen
            return bool(condition(last))

        try:
            until(is_so, SHOWN, what)
        except AssertionError as error:
            raise AssertionError(f"{error}; the screen:\n{last}") from None
        return last

    def shows(self, pattern: str) -> str:
        """Wait until something on the screen matches ``pattern``; returns the screen."""
        return self.until(lambda screen: re.search(pattern, screen), f"{pattern!r}")

    def hides(self, pattern: str) -> str:
        """Wait until nothing on the screen matches ``pattern``."""
        return self.until(lambda screen: not re.search(pattern, screen), f"no {pattern!r}")

    # Its end.

    def exit_code(self) -> int:
        """Wait until the program has ended; it must have given the terminal back as it was."""
        found = ENDED.search(self.shows(ENDED.pattern))
        assert found is not None
        modes = self._ask("#{alternate_on} #{cursor_flag} #{mouse_any_flag}")
        assert modes == "0 1 0", f"alternate screen, cursor, mouse: {modes}"
        return int(found[1])

    def end(self) -> None:
        """Close the window; it is gone, and so is the program, whatever its state."""
        pids = [self._pid, *_children(self._pid)]
        self._tmux("kill-server")
        deadline = time.monotonic() + ENDING_SECONDS
        while any(_is_running(pid) for pid in pids):
            if time.monotonic() > deadline:
                for pid in filter(_is_running, pids):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.01)


def _children(pid: int) -> list[int]:
    """All that this process has started, directly or not."""
    try:
        found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [grown for child in map(int, found) for grown in (child, *_children(child))]


def _is_running(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return status.rpartition(")")[2].split()[0] not in ("Z", "X")


@contextmanager
def opened(terminal: Terminal) -> Iterator[Terminal]:
    """A terminal that is gone afterwards."""
    try:
        yield terminal
    finally:
        terminal.end()
