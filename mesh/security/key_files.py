"""Files of mesh keys: one key a line, the one in use first, the others accepted as well.

So a key can be changed by changing files and restarting nodes one after the other, and a running
node that was told a new key has a place to keep it.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from mesh.security.keys import split_keys
from mesh.security.secret_files import write_secret
from patterns.errors import ConfigError

__all__ = ["MAX_KEY_FILE_BYTES", "read_keys", "write_keys"]

MAX_KEY_FILE_BYTES = 4096
"""More is the wrong file."""


def read_keys(path: str) -> list[str]:
    """The keys in a file. Raises ConfigError when there are none to read."""
    try:
        with open(path, "rb") as file:
            raw = file.read(MAX_KEY_FILE_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"key file {path}: {error.strerror}") from None
    if len(raw) > MAX_KEY_FILE_BYTES:
        raise ConfigError(f"key file {path}: more than {MAX_KEY_FILE_BYTES} bytes is no key")
    try:
        keys = split_keys(raw.decode())
    except UnicodeDecodeError:
        raise ConfigError(f"key file {path}: it is not UTF-8 text") from None
    if not keys:
        raise ConfigError(f"key file {path}: it is empty; 'meshctl keygen' makes a key")
    return keys


def write_keys(path: str, keys: Iterable[str]) -> None:
    """Put those into the file, all or nothing, readable by its owner alone. Raises OSError."""
    write_secret(Path(path), "".join(f"{key}\n" for key in keys).encode())
