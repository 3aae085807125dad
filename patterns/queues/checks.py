"""What comes on the stream between a worker and a home is looked at before it is used: each field's
type, range and size. Whatever does not hold is a ``BadMessage``, and the stream is given up."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

__all__ = [
    "MAX_CREDIT",
    "MAX_DELAY_MS",
    "MAX_HEADERS",
    "MAX_JOB_BYTES",
    "MAX_LEASE",
    "MAX_NAME_CHARS",
    "MAX_NUMBER",
    "MAX_PUTS",
    "MAX_REASON_CHARS",
    "MIN_LEASE",
    "BadMessage",
    "bytes_in",
    "fields_in",
    "headers_in",
    "int_in",
    "ints_in",
    "lease_in",
    "name_in",
    "runs_in",
    "runs_of",
    "text_in",
]

MAX_CREDIT = 10_000
"""Jobs in flight of one worker, so also numbers in one message: more than this only wait there."""

MAX_NUMBER = 2**62
"""Of jobs, and of milliseconds: what a store can keep, with a bit to spare."""

MAX_JOB_BYTES = 1024 * 1024
"""Of the packed body of a job, of a result, and of what is told of progress: larger things belong
into a blob store, and the job names them."""

MAX_REASON_CHARS = 1_000
"""What is kept of why a job came back: a line for people, not a traceback."""

MAX_DELAY_MS = 10 * 366 * 24 * 3600 * 1000
"""Ten years: what is later than that is a mistake in units."""

MAX_PUTS = 1_000
"""Jobs put in one commit with the end of another."""

MAX_HEADERS = 128
"""Headers of a job; each name and value, its id, and its key are at most ``MAX_NAME_CHARS`` long:
what does not fit belongs into the body."""

MAX_NAME_CHARS = 8_192

MIN_LEASE = 0.2
MAX_LEASE = 7 * 24 * 3600.0
"""Seconds: a fence needs some time before the end of a lease; and a job whose worker hangs for
longer than a week is found by people."""


class BadMessage(ValueError):
    """The other side of the stream does not keep to the protocol, or is not what it says."""


def fields_in(fields: list[Any], count: int, kind: str) -> list[Any]:
    """Exactly so many fields behind the kind."""
    if len(fields) != count + 1:
        raise BadMessage(f"{kind} has {len(fields) - 1} fields, not {count}")
    return fields


def int_in(value: object, least: int, most: int, what: str) -> int:
    """A number in a range; a bool is none."""
    if type(value) is not int or not least <= value <= most:
        raise BadMessage(f"{what} is {_shown(value)}, not a number from {least} to {most}")
    return value


def ints_in(value: object, most: int, what: str) -> list[int]:
    """A list of at most so many numbers from 0 to ``MAX_NUMBER``; it may be empty."""
    if type(value) is not list or len(value) > most:
        raise BadMessage(f"{what} is {_shown(value)}, not a list of at most {most}")
    if value and (set(map(type, value)) != {int} or min(value) < 0 or max(value) > MAX_NUMBER):
        raise BadMessage(f"{what} are not all numbers from 0 to {MAX_NUMBER}")
    return value


def bytes_in(value: object, most: int, what: str) -> bytes:
    """Bytes, at most so many."""
    if type(value) is not bytes or len(value) > most:
        raise BadMessage(f"{what} is {_shown(value)}, not at most {most} bytes")
    return value


def text_in(value: object, most: int, what: str) -> str:
    """Text of at most so many characters."""
    if type(value) is not str or len(value) > most:
        raise BadMessage(f"{what} is {_shown(value)}, not at most {most} characters")
    return value


def name_in(value: object, what: str) -> str:
    """Text that may stand in a line for people."""
    name = text_in(value, MAX_NAME_CHARS, what)
    if not name.isprintable():
        raise BadMessage(f"{what} has control characters")
    return name


def headers_in(value: object, what: str) -> dict[str, str]:
    """Text by name."""
    if type(value) is not dict or len(value) > MAX_HEADERS:
        raise BadMessage(f"{what} is {_shown(value)}, not a map of at most {MAX_HEADERS}")
    for name, text in value.items():
        text_in(name, MAX_NAME_CHARS, what)
        text_in(text, MAX_NAME_CHARS, what)
    return value


def lease_in(seconds: float) -> float:
    """How long a worker may have a job."""
    if not MIN_LEASE <= seconds <= MAX_LEASE:
        raise BadMessage(f"a lease of {seconds!r} s: from {MIN_LEASE:g} to {MAX_LEASE:g}")
    return seconds


def runs_of(numbers: Iterable[int]) -> list[int]:
    """Different numbers as ``[first, count, first, count...]``, in order."""
    ordered = sorted(numbers)
    if not ordered:
        return []
    first = ordered[0]
    if ordered[-1] - first == len(ordered) - 1:
        return [first, len(ordered)]
    runs: list[int] = []
    following = first
    for number in ordered:
        if number != following:
            runs += (first, following - first)
            first = number
        following = number + 1
    runs += (first, following - first)
    return runs


def runs_in(value: object, what: str) -> list[int]:
    """The numbers of such runs, at most ``MAX_CREDIT`` of them, all different."""
    runs = ints_in(value, 2 * MAX_CREDIT, what)
    firsts, counts = runs[::2], runs[1::2]
    if len(firsts) != len(counts) or sum(counts) > MAX_CREDIT:
        raise BadMessage(f"{what} are not runs of at most {MAX_CREDIT} in all")
    numbers: list[int] = []
    following = 0
    for first, count in zip(firsts, counts, strict=True):
        if first < following or not count:
            raise BadMessage(f"{what} are not runs in order")
        following = first + count
        numbers += range(first, following)
    return numbers


def _shown(value: object) -> str:
    """Of what a stranger sent no more than what it is."""
    if type(value) in (int, float, bool, type(None)):
        return repr(value)[:40]
    if isinstance(value, (str, bytes, list, dict)):
        return f"a {type(value).__name__} of {len(value)}"
    return f"a {type(value).__name__}"
