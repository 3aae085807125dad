"""Options as users give them: each is looked at where it is said, not where it is first used."""

from __future__ import annotations

from math import isfinite

from patterns.errors import ConfigError

__all__ = ["MAX_SECONDS", "check_number", "check_whole"]

MAX_SECONDS = 100 * 366 * 86400.0
"""A hundred years; so that all times are whole numbers of milliseconds."""


def check_whole(name: str, value: object, *, least: int = 1) -> int:
    """A whole number. Raises ConfigError."""
    if type(value) is not int or value < least:
        raise ConfigError(f"{name}={value!r:.80}: give a whole number from {least}")
    return value


def check_number(name: str, value: object, *, least: float, most: float = MAX_SECONDS) -> float:
    """A number, no bool, in a range. Raises ConfigError."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not isfinite(value) or not least <= value <= most:  # type: ignore[arg-type, operator]
        raise ConfigError(f"{name}={value!r:.80}: give a number from {least:g} to {most:g}")
    return value  # type: ignore[return-value]
