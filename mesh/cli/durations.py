"""Times on the command line: "90", "90s", "10m", "2h", "1d"."""

from __future__ import annotations

import math

__all__ = ["parse_duration", "spelled"]

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def parse_duration(text: str, most: float) -> float:
    """Seconds, above 0 and up to ``most``. Raises ValueError with a text for people."""
    stripped = text.strip().lower()
    unit = stripped[-1:] if stripped[-1:] in _UNITS else ""
    try:
        seconds = float(stripped.removesuffix(unit)) * _UNITS.get(unit, 1)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds <= most:
        raise ValueError(f"{text!r}: give a time up to {spelled(most)}, as 90s, 10m or 2h")
    return seconds


def spelled(seconds: float) -> str:
    """ "90 s", "10 min", "2 h", "1 d": in the largest unit that fits without a rest."""
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:g} {unit}"
    return f"{seconds:g} s"
