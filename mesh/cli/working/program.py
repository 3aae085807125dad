"""One run of a program: from its start to the end of all that it started.

Rules:

* It leads a session and a process group of its own: signals of our terminal do not reach it, and
  ours reach all of it.
* A pidfd tells of its end while it still is a zombie, so that its process group cannot be another's
  yet. What is left of the group is killed then, and only then the zombie is reaped.
* Its input is a file that is there as a whole: it cannot block, and nobody has to feed it. What it
  writes is read as it comes, and kept up to a bound; it never waits for us for long.
* After its end nobody waits for who left the group and still holds its output: what is there is
  read, and the descriptor closed.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, cast

__all__ = ["KEPT_ERROR_BYTES", "Ending", "Limits", "Program"]

KEPT_ERROR_BYTES = 4096
"""Of the end of what a program says: a reason that people read, with the end of a traceback."""

READ_BYTES = 64 * 1024
"""At once: what a pipe of Linux holds."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds; None: no limit. ``grace`` is between SIGTERM and SIGKILL when it is ended."""

    soft: float | None = None
    hard: float | None = None
    grace: float = 5.0


@dataclass(frozen=True, slots=True)
class Ending:
    """How a run ended.

    ``code``       the exit code; below 0: minus the signal that ended it
    ``output``     what it wrote, when that was to be kept; None: it was more than may be
    ``said``       the end of what it said otherwise
    ``was_ended``  why we ended it, or tried to; empty: we did not
    """

    code: int
    output: bytes | None
    said: bytes
    was_ended: str


class Program:
    """``start`` it, await ``ended``. All on the loop's thread.

    ``keep``  how many bytes of its standard output are kept; None: it goes where stderr goes
    ``tell``  called with what it says, as it comes
    """

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str | bytes],
        body: bytes,
        limits: Limits,
        *,
        keep: int | None,
        tell: Callable[[bytes], object],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._limits = limits
        self._keep = keep
        self._tell = tell
        self._output = bytearray()
        self._is_too_much = False
        self._said = bytearray()
        self._was_ended = ""
        self._timers: list[asyncio.TimerHandle] = []
        self.ended: asyncio.Future[Ending] = self._loop.create_future()
        """Cancelling whoever awaits it does not end the program: shield it."""
        self._process = _start(command, environment, body, is_output_kept=keep is not None)
        self._pidfd = os.pidfd_open(self._process.pid)
        self._loop.add_reader(self._pidfd, self._on_end)
        self._pipes: dict[IO[bytes], Callable[[bytes], None]] = {}
        self._open(self._process.stdout, self._take_said if keep is None else self._take_output)
        self._open(self._process.stderr, self._take_said)
        for seconds, end in ((limits.soft, self._soft), (limits.hard, self._hard)):
            if seconds is not None:
                self._timers.append(self._loop.call_later(seconds, end))

    # How it is ended.

    def end(self, why: str) -> None:
        """SIGTERM to all of it, and SIGKILL after the grace."""
        if not self.ended.done():
            self._was_ended = self._was_ended or why
            self._signal(signal.SIGTERM)
            self._timers.append(self._loop.call_later(self._limits.grace, self.kill, why))

    def kill(self, why: str) -> None:
        """SIGKILL to all of it."""
        if not self.ended.done():
            self._was_ended = self._was_ended or why
            self._signal(signal.SIGKILL)

    def _soft(self) -> None:
        self._was_ended = f"it ran for longer than {self._limits.soft:g} s (--soft-limit)"
        self._signal(signal.SIGTERM)

    def _hard(self) -> None:
        self._was_ended = f"it ran for longer than {self._limits.hard:g} s (--hard-limit)"
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        # Not yet reaped: the number of the group is its own.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)

    def _on_end(self) -> None:
        self._signal(signal.SIGKILL)
        self._loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        code = self._process.wait()
        for timer in self._timers:
            timer.cancel()
        for pipe in list(self._pipes):
            while self._read(pipe):
                continue
            self._close(pipe)
        output = None if self._is_too_much else bytes(self._output)
        self.ended.set_result(Ending(code, output, bytes(self._said), self._was_ended))

    # What it writes.

    def _open(self, pipe: IO[bytes] | None, take: Callable[[bytes], None]) -> None:
        if pipe is not None:
            os.set_blocking(pipe.fileno(), False)
            self._pipes[pipe] = take
            self._loop.add_reader(pipe.fileno(), self._read, pipe)

    def _close(self, pipe: IO[bytes]) -> None:
        if self._pipes.pop(pipe, None) is not None:
            self._loop.remove_reader(pipe.fileno())
            pipe.close()

    def _read(self, pipe: IO[bytes]) -> bool:
        """Whether there may be more."""
        take = self._pipes.get(pipe)
        if take is None:
            return False
        try:
            data = os.read(pipe.fileno(), READ_BYTES)
        except BlockingIOError:
            return False
        if data:
            take(data)
        else:
            self._close(pipe)
        return bool(data)

    def _take_output(self, data: bytes) -> None:
        if self._keep is not None and len(self._output) + len(data) > self._keep:
            self._is_too_much = True
            self._output.clear()
        if not self._is_too_much:
            self._output += data

    def _take_said(self, data: bytes) -> None:
        self._said += data
        del self._said[:-KEPT_ERROR_BYTES]
        self._tell(data)


def _start(
    command: Sequence[str],
    environment: Mapping[str, str | bytes],
    body: bytes,
    *,
    is_output_kept: bool,
) -> subprocess.Popen[bytes]:
    """Raises OSError, and ValueError for a NUL in the environment."""
    with tempfile.TemporaryFile() as file:
        file.write(body)
        file.seek(0)
        return subprocess.Popen(  # noqa: S603  what the user wants to be run, by no shell
            command,
            env=cast("Mapping[str, str]", environment),  # bytes are fine, too
            stdin=file,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE if is_output_kept else subprocess.STDOUT,
            start_new_session=True,
            bufsize=0,
        )
