"""JSON files with secrets: an object that says what it is, and bytes in it as base64.

Whoever edits one by hand, or cuts it off, is told which file it is and what is wrong.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mesh.security.secret_files import read_secret, write_secret
from patterns.errors import ConfigError

__all__ = ["Document", "binary", "write_document"]


class Document:
    """What a file holds. Every method raises ConfigError, with the file's name and ``advice``."""

    def __init__(self, path: Path, kind: str, max_bytes: int, advice: str) -> None:
        self._path = path
        self._advice = advice
        content = read_secret(path, max_bytes)
        try:
            found = json.loads(content)
        except (ValueError, RecursionError):
            raise self.wrong("it is not JSON, or cut off") from None
        if not isinstance(found, dict) or found.get("format") != kind:
            raise self.wrong(f'it does not say "format": "{kind}"')
        self._fields: dict[str, Any] = found

    def wrong(self, why: object) -> ConfigError:
        return ConfigError(f"{self._path} cannot be used: {why}; {self._advice}")

    def text(self, name: str) -> str:
        value = self._fields.get(name)
        if not isinstance(value, str):
            raise self.wrong(f'it has no text "{name}"')
        return value

    def binary(self, name: str) -> bytes:
        return self._decoded(name, self.text(name))

    def binaries(self, name: str) -> list[bytes]:
        value = self._fields.get(name)
        if not isinstance(value, list):
            raise self.wrong(f'it has no list "{name}"')
        return [self._decoded(name, text) for text in value]

    def _decoded(self, name: str, value: Any) -> bytes:
        try:
            return base64.b64decode(value, validate=True)
        except (ValueError, TypeError):
            raise self.wrong(f'"{name}" is not base64') from None


def write_document(path: Path, kind: str, fields: Mapping[str, Any]) -> None:
    """Raises OSError."""
    text = json.dumps({"format": kind, **fields}, indent=1)
    write_secret(path, f"{text}\n".encode())


def binary(value: bytes) -> str:
    """Bytes, as a document holds them."""
    return base64.b64encode(value).decode()
