"""Files that hold secrets: readable by their owner alone, and never half written.

A write goes to a new file beside the old one, to the disk, and then in its place: after a crash
there is the old content or the new one. A file that others can read is refused, as ssh refuses it:
whoever made it so should know that its secret may have been read.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import time
from collections.abc import Iterator
from pathlib import Path

from patterns.errors import ConfigError

__all__ = ["locked", "make_folder", "read_secret", "write_secret"]

OWNER_ONLY = 0o600
FOLDER_OWNER_ONLY = 0o700
ANYBODY_ELSE = 0o077

LOCK_WAIT = 5.0
"""Seconds to wait for another process that changes the same files, which takes milliseconds."""

LOCK_POLL = 0.02


def read_secret(path: Path, max_bytes: int) -> bytes:
    """What the file holds.

    :raises ConfigError: it cannot be read, others can read it, or it is longer than ``max_bytes``
    """
    try:
        with path.open("rb") as file:
            # Of the open file: the name may mean another one by now.
            mode = os.fstat(file.fileno()).st_mode
            if mode & ANYBODY_ELSE:
                raise ConfigError(
                    f"{path} holds a secret and others can read or change it: chmod 600 {path}"
                )
            content = file.read(max_bytes + 1)
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from None
    if len(content) > max_bytes:
        raise ConfigError(f"{path} is longer than {max_bytes} bytes: it is another kind of file")
    return content


def write_secret(path: Path, content: bytes) -> None:
    """Put ``content`` there, at once or not at all. Raises OSError."""
    path = Path(os.path.realpath(path))  # what a link points to is replaced, not the link
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, OWNER_ONLY)
    try:
        with open(descriptor, "wb") as file:
            # The mode given to open() is cut by the umask; this one is not.
            os.fchmod(descriptor, OWNER_ONLY)
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()
        raise
    _sync_folder(path.parent)


def make_folder(path: Path) -> None:
    """For secrets; its parents are made as the umask says. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.mkdir(FOLDER_OWNER_ONLY, exist_ok=True)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """No other process is in here with the same lock file. Raises ConfigError after `LOCK_WAIT`."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, OWNER_ONLY)
    try:
        deadline = time.monotonic() + LOCK_WAIT
        while not _lock(descriptor):
            if time.monotonic() > deadline:
                raise ConfigError(f"another process holds {path}: wait for it to end")
            time.sleep(LOCK_POLL)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _sync_folder(path: Path) -> None:
    """Let the new name outlive a crash, too."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
