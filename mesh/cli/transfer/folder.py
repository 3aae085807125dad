"""Where received files go: unfinished ones, and the names that they get in the end.

Nothing outside the folder is touched: names are made safe, and an unfinished file that is a link,
or has another name, too, or is no plain file, is not taken. A file gets its name when it is whole
and on the disk, in one step.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from mesh.cli.transfer.names import names_like, part_name

__all__ = ["SPARE_BYTES", "BusyError", "Folder"]

SPARE_BYTES = 64 * 1024**2
"""What a file that comes must leave free on the disk."""


class BusyError(Exception):
    """A file of that name is coming already."""


class Folder:
    """A folder for what comes. Raises OSError where that cannot be written."""

    def __init__(self, path: Path, is_overwriting: bool) -> None:
        self.path = path
        self._is_overwriting = is_overwriting

    @contextmanager
    def part(self, name: str) -> Iterator[BinaryIO]:
        """The unfinished file of that name, at its beginning; nobody else has it meanwhile.

        Raises BusyError when somebody has. One with nothing in it is not kept.
        """
        path = self.path / part_name(name)
        # Without O_NONBLOCK a pipe of that name would be waited for.
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        with open(os.open(path, flags, 0o666), "r+b", buffering=0) as raw:
            try:
                fcntl.flock(raw, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise BusyError from None
            if not _is_at(raw, path):
                raise BusyError  # it was finished just now
            opened = os.fstat(raw.fileno())
            if not stat.S_ISREG(opened.st_mode) or opened.st_nlink != 1:
                raise FileExistsError(errno.EEXIST, f"{path.name} is there, and is no such file")
            try:
                yield raw
            finally:
                if _is_at(raw, path) and not os.fstat(raw.fileno()).st_size:
                    path.unlink()

    def has_room(self, size: int) -> bool:
        """Whether so many bytes more leave enough."""
        return shutil.disk_usage(self.path).free >= size + SPARE_BYTES

    def keep(self, file: BinaryIO, name: str) -> str:
        """Give the unfinished file its name, or one like it that is free; returns that.

        Raises OSError when somebody has taken it away meanwhile.
        """
        os.fsync(file.fileno())
        part = self.path / part_name(name)
        if not _is_at(file, part):
            raise FileNotFoundError(errno.ENOENT, f"{part.name} was removed while it came")
        if self._is_overwriting:
            os.replace(part, self.path / name)
        else:
            name = self._claim(part, name)
        folder = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        return name

    def _claim(self, part: Path, name: str) -> str:
        """By an empty file that was not there before, so two never get one name."""
        for free in names_like(name):
            path = self.path / free
            try:
                os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
            except FileExistsError:
                continue
            try:
                os.replace(part, path)
            except OSError:
                path.unlink()
                raise
            return free
        raise FileExistsError(0, "there are too many files of that name", name)


def _is_at(file: BinaryIO, path: Path) -> bool:
    """Whether what is open is what is there."""
    try:
        there = os.stat(path, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return os.path.samestat(there, os.fstat(file.fileno()))
