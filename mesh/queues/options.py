"""What can be said of a job that is put: for type checkers and editors."""

from __future__ import annotations

from datetime import datetime
from typing import TypedDict

from patterns.keys import Key

__all__ = ["PutOptions"]


class PutOptions(TypedDict, total=False):
    """See ``AsyncQueue.put``."""

    priority: int
    delay: float
    at: datetime | None
    ttl: float | None
    unique: str | None
    key: Key | None
    id: str | None
    keep_result: float | None
    headers: dict[str, str] | None
