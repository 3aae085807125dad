"""A worker's end of its conversation with the harness: one JSON object per line.

Commands come in on stdin, reports go out on the stdout the process was started with. End of file
on stdin means stop, so a worker never outlives a harness that was killed. Whatever else writes to
`sys.stdout` ends up on stderr, where it cannot be taken for a report.
"""

from __future__ import annotations

import asyncio
import json
import os
import select
import sys
from typing import Any

STDIN = 0
STDOUT = 1
STDERR = 2

READ_SIZE = 65_536
"""Bytes per read of stdin; commands are far smaller."""


class Control:
    """Reads commands and writes reports. One per process, used by one thread at a time."""

    def __init__(self) -> None:
        sys.stdout.flush()
        self._out = os.dup(STDOUT)
        os.dup2(STDERR, STDOUT)
        self._buffer = b""
        self._ended = False

    def report(self, **fields: Any) -> None:
        """Write one report."""
        line = json.dumps(fields).encode() + b"\n"
        while line:
            line = line[os.write(self._out, line) :]

    def receive(self) -> dict[str, Any] | None:
        """Block for the next command; `None` when there will be no more."""
        while True:
            command = self._take()
            if command is not None or self._ended:
                return command
            self._read()

    async def receive_async(self) -> dict[str, Any] | None:
        """The same as `receive` without blocking the event loop, and without a thread."""
        loop = asyncio.get_running_loop()
        while True:
            command = self._take()
            if command is not None or self._ended:
                return command
            readable = asyncio.Event()
            loop.add_reader(STDIN, readable.set)
            try:
                await readable.wait()
            finally:
                loop.remove_reader(STDIN)
            self._read()

    def stopping(self) -> bool:
        """Whether the harness has closed stdin; never blocks. For roles that get no commands."""
        while not self._ended and select.select([STDIN], [], [], 0)[0]:
            self._read()
        return self._ended

    def poll(self) -> dict[str, Any] | None:
        """The next command, if there is one; never blocks."""
        self.stopping()
        return self._take()

    def _take(self) -> dict[str, Any] | None:
        line, newline, rest = self._buffer.partition(b"\n")
        if not newline:
            return None
        self._buffer = rest
        command: dict[str, Any] = json.loads(line)
        return command

    def _read(self) -> None:
        data = os.read(STDIN, READ_SIZE)
        if data:
            self._buffer += data
        else:
            self._ended = True
