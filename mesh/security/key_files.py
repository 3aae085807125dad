"""Files of mesh keys: one key a line, the one in use first, the others accepted as well.

So a key can be changed by changing files and restarting nodes one after the other, and a running
node that was told a new key has a place to keep it. Empty lines and lines that begin with "#" are
no keys; "#until" and a Unix time before a key say when it is good no more.
"""

from __future__ import annotations

import contextlib
import os
import stat
import time
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from mesh.security.secret_files import write_secret
from patterns.errors import ConfigError

__all__ = ["MAX_KEY_FILE_BYTES", "KeptKeys", "read_keys", "write_keys"]

MAX_KEY_FILE_BYTES = 4096
"""More is the wrong file."""

UNTIL = "#until "


class KeptKeys(NamedTuple):
    """Keys, the one in use first; ``until`` when the others are good no more, as Unix time."""

    texts: tuple[str, ...]
    until: float | None

    def __repr__(self) -> str:
        return f"KeptKeys({len(self.texts)} keys, until={self.until})"


def read_keys(path: str) -> KeptKeys:
    """The keys in a file that are good now. Raises ConfigError when there are none to read."""
    try:
        with open(path, "rb") as file:
            raw = file.read(MAX_KEY_FILE_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"cannot read the key file {path}: {error.strerror}") from None
    if len(raw) > MAX_KEY_FILE_BYTES:
        raise ConfigError(f"key file {path}: more than {MAX_KEY_FILE_BYTES} bytes is no key")
    try:
        lines = raw.decode().splitlines()
    except UnicodeDecodeError:
        raise ConfigError(f"key file {path}: it is not UTF-8 text") from None
    kept = _parse(path, lines)
    if not kept.texts:
        raise ConfigError(f"there is no key in {path}; 'meshctl keygen' makes one")
    return kept


def _parse(path: str, lines: Iterable[str]) -> KeptKeys:
    texts: list[str] = []
    until: float | None = None
    ends_at: float | None = None
    for line in map(str.strip, lines):
        if line.startswith(UNTIL):
            try:
                ends_at = float(int(line.removeprefix(UNTIL)))
            except (ValueError, OverflowError):
                raise ConfigError(f"key file {path}: {line!r:.60} has no Unix time") from None
        elif line and not line.startswith("#"):
            if ends_at is None or ends_at > time.time():
                texts.append(line)
                until = max(until or 0.0, ends_at) if ends_at is not None else until
            ends_at = None
    return KeptKeys(tuple(texts), until)


def write_keys(path: str, kept: KeptKeys) -> None:
    """Put those into the file, all or nothing, for those who may read it now. Raises OSError."""
    before = os.stat(path)
    lines = list(kept.texts[:1])
    for text in kept.texts[1:]:
        lines += [f"{UNTIL}{round(kept.until)}"] if kept.until is not None else []
        lines.append(text)
    write_secret(Path(path), "".join(f"{line}\n" for line in lines).encode())
    os.chmod(path, stat.S_IMODE(before.st_mode))
    if (before.st_uid, before.st_gid) != (os.geteuid(), os.getegid()):
        # Only root can; for others it is their own file already.
        with contextlib.suppress(PermissionError):
            os.chown(path, before.st_uid, before.st_gid)
