"""A file of addresses, watched: what a deployment tool writes, the mesh dials.

One `host:port` a line, with an IP address or a name; `#` begins a comment. The file is looked at
once a second. A file that is missing, or has a line that makes no sense, says so in the source's
state; the lines that do make sense are used.
"""

import asyncio
import os
import stat
from pathlib import Path

from discovery.address import format_address, is_ip_literal, parse_address
from discovery.listed import INTERVAL, Listed
from discovery.names import Answer, Names

POLL = 1.0
"""Seconds between looks at the file: a `stat` costs a microsecond."""

MAX_FILE_BYTES = 1_048_576
"""More is the wrong file: a thousand addresses take 25 KB."""

MAX_PROBLEMS = 3
"""Lines that the state complains of; the rest is likely to be wrong in the same way."""


class File(Listed):
    """Tells the addresses of the file at `path`, and follows its changes; `name` has the path."""

    def __init__(self, path: str | os.PathLike[str], interval: float = INTERVAL) -> None:
        super().__init__(interval)
        self.name = f"file:{os.fspath(path)}"
        self._path = Path(path)
        self._version: tuple[int, ...] | None = None
        self._lines: frozenset[str] = frozenset()
        self._names: Names | None = None
        self._poll_timer: asyncio.TimerHandle | None = None

    def _begin(self) -> None:
        self._poll()

    def _end(self) -> None:
        if self._poll_timer is not None:
            self._poll_timer.cancel()
        if self._names is not None:
            self._names.close()

    def _poll(self) -> None:
        self._poll_timer = asyncio.get_running_loop().call_later(POLL, self._poll)
        try:
            status = self._path.stat()
            version = (status.st_mtime_ns, status.st_size, status.st_ino)
            if version == self._version:
                return
            if not stat.S_ISREG(status.st_mode):
                raise OSError("it is no file to be read again: a pipe, a device or a folder")
            if status.st_size > MAX_FILE_BYTES:
                raise OSError(f"it has more than {MAX_FILE_BYTES} bytes")
            text = self._path.read_bytes().decode()
        except (OSError, ValueError) as error:  # no UTF-8, or a path that cannot be one
            why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            self._version = None
            self.set_problem("", f"{self._path}: {why}")
            return
        self._version = version
        self._problems.clear()
        self._use(text)

    def _use(self, text: str) -> None:
        addresses = set()
        for number, line in enumerate(text.splitlines(), 1):
            line = line.partition("#")[0].strip()
            if not line:
                continue
            try:
                addresses.add(format_address(*parse_address(line)))
            except ValueError as error:
                if len(self._problems) < MAX_PROBLEMS:
                    self.set_problem(f"line {number}", f"{self._path}:{number}: {error}")
        for gone in self._lines - addresses:
            self.drop_entry(gone)
        is_change = addresses != self._lines
        self._lines = frozenset(addresses)
        names = [address for address in addresses if not is_ip_literal(parse_address(address)[0])]
        for address in addresses.difference(names):
            self.set_entry(address, (address,))
        if is_change:
            self._ask_for(names)

    def _ask_for(self, names: list[str]) -> None:
        if self._names is not None:
            self._names.close()
        self._names = Names(names, self._answered, self._interval) if names else None

    def _answered(self, name: str, answer: Answer) -> None:
        if isinstance(answer, str):
            self.set_problem(name, answer)
        else:
            self.set_entry(name, answer)
