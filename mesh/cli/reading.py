"""What another node said of itself, read without trusting it: any field may be missing, or odd."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

__all__ = ["items_of", "number_of", "text_of", "texts_of", "value_of"]


def value_of(state: Any, *path: str) -> Any:
    """What is there, by keys of maps; None if anything on the way is missing."""
    for key in path:
        if not isinstance(state, Mapping):
            return None
        state = state.get(key)
    return state


def number_of(state: Any, *path: str) -> float | None:
    """The same, if it is a finite number that is not negative."""
    value = value_of(state, *path)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if math.isfinite(value) and value >= 0 else None


def text_of(state: Any, *path: str) -> str:
    """The same, if it is a text; else an empty one."""
    value = value_of(state, *path)
    return value if isinstance(value, str) else ""


def items_of(state: Any, *path: str) -> list[Mapping[str, Any]]:
    """The same, if it is a list, the maps that are in it."""
    value = value_of(state, *path)
    return [one for one in value if isinstance(one, Mapping)] if isinstance(value, list) else []


def texts_of(state: Any, *path: str) -> list[str]:
    """The same, if it is a list, the texts that are in it."""
    value = value_of(state, *path)
    return [one for one in value if isinstance(one, str)] if isinstance(value, list) else []
