"""What a producer says of a job: checked where it is said, and again where it arrives.

On the wire a job is ``[body, options]``, ``options`` a map of what is not as usual.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from mesh.engine.packing import check_headers
from mesh.queues.options import PutOptions
from patterns.errors import BadName, BadPayload, BadRequest, ConfigError, MeshError, PayloadTooLarge
from patterns.keys import MAX_KEY_BYTES, Key, key_bytes
from patterns.queues.checks import MAX_HEADERS, MAX_JOB_BYTES
from patterns.queues.jobspec import Alike, JobSpec
from patterns.queues.options import MAX_SECONDS, check_number
from patterns.queues.ticket import DEFAULT_PRIORITY, MAX_PRIORITY

__all__ = [
    "MAX_HEADERS_BYTES",
    "MAX_JOB_BYTES",
    "MAX_NAME_BYTES",
    "STREAM_WINDOW",
    "job_of",
    "make_like",
    "make_specs",
    "wire_of",
]

STREAM_WINDOW = 4 * 1024 * 1024
"""Bytes that a home may have on the way to a worker, or it to a home: the largest job, or commit,
and some batches."""

MAX_NAME_BYTES = 255
"""Of ``id`` and ``unique``: they are looked up for each job that has one."""

MAX_HEADERS_BYTES = 8 * 1024
"""Of the names and texts of a job's headers: a worker ends a stream that brings it longer ones, and
a batch of jobs must fit its window with all of theirs."""


def seconds_ms(name: str, value: float, *, least: float = 0.0) -> int:
    """Seconds as whole ms. Raises ConfigError."""
    return math.ceil(check_number(name, value, least=least) * 1000)


def _size(text: str) -> int:
    """Raises BadPayload."""
    try:
        return len(text.encode())
    except UnicodeEncodeError:
        raise BadPayload(f"{text!a:.80}: half a surrogate pair cannot travel") from None


def _name(what: str, value: str | None) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or not 0 < _size(value) <= MAX_NAME_BYTES:
        raise BadName(f"{what}={value!r:.80}: give a text of 1 to {MAX_NAME_BYTES} bytes")
    if not value.isprintable():  # it stands in logs, on terminals and in environments
        raise BadName(f"{what}={value!a:.80}: without control characters")
    return value


def _priority(value: int) -> int:
    if type(value) is not int or not 0 <= value <= MAX_PRIORITY:
        raise ConfigError(f"priority={value!r}: give a whole number from 0 to {MAX_PRIORITY}")
    return value


def _headers(headers: object) -> dict[str, str] | None:
    if headers is None or headers == {}:
        return None
    checked = check_headers(headers)
    size = sum(_size(name) + _size(text) for name, text in checked.items())
    if len(checked) > MAX_HEADERS or size > MAX_HEADERS_BYTES:
        raise PayloadTooLarge(
            f"{len(checked)} headers of {size} bytes: a job has at most {MAX_HEADERS}, of "
            f"{MAX_HEADERS_BYTES} bytes together; what is longer belongs into its data"
        )
    return checked


def _check_size(size: int) -> None:
    if size > MAX_JOB_BYTES:
        raise PayloadTooLarge(
            f"a job of {size} bytes: at most {MAX_JOB_BYTES}; keep what is large elsewhere "
            "and put its address"
        )


def make_like(body: bytes, now: Callable[[], datetime], options: Mapping[str, Any]) -> JobSpec:
    """What a job with this body is like, without it. Raises as ``make_specs``."""
    _check_size(len(body))
    if not options:
        return _USUAL_SPEC
    if wrong := options.keys() - _OPTIONS:
        known = ", ".join(sorted(_OPTIONS))
        raise TypeError(f"a job has no option {sorted(wrong)[0]!r}: it is one of {known}")
    return _like(now, **options)


def make_specs(
    bodies: Sequence[bytes], now: Callable[[], datetime], options: Mapping[str, Any]
) -> Alike:
    """Jobs with the same options, one at least. Raises ConfigError, BadName, BadPayload,
    PayloadTooLarge."""
    like = make_like(max(bodies, key=len), now, options)
    if len(bodies) > 1 and like.is_named:
        raise ConfigError("id= and unique= are for one job each: use put()")
    return Alike(bodies, like)


def _like(
    now: Callable[[], datetime],
    *,
    priority: int = DEFAULT_PRIORITY,
    delay: float = 0.0,
    at: datetime | None = None,
    ttl: float | None = None,
    unique: str | None = None,
    key: Key | None = None,
    id: str | None = None,
    keep_result: float | None = None,
    headers: dict[str, str] | None = None,
) -> JobSpec:
    if at is not None:
        if delay or not isinstance(at, datetime) or at.tzinfo is None:
            raise ConfigError(f"at={at!r}: give an aware datetime, and no delay=")
        delay = max(0.0, (at - now()).total_seconds())
    ttl_ms = None if ttl is None else seconds_ms("ttl", ttl, least=0.001)
    keep_ms = None if keep_result is None else seconds_ms("keep_result", keep_result)
    return JobSpec(
        b"",
        _priority(priority),
        seconds_ms("delay", delay),
        ttl_ms,
        None if key is None else key_bytes(key),
        _name("id", id),
        _name("unique", unique),
        keep_ms,
        _headers(headers),
    )


_USUAL_SPEC = JobSpec(b"")
_OPTIONS = PutOptions.__annotations__.keys()


_FIELDS = ("priority", "delay_ms", "ttl_ms", "key", "id", "unique", "keep_result_ms", "headers")
_USUAL = (DEFAULT_PRIORITY, 0, None, None, None, None, None, None)


def wire_of(spec: JobSpec) -> list[Any]:
    """A job as it travels to its home."""
    options = {
        name: value
        for name, usual in zip(_FIELDS, _USUAL, strict=True)
        if (value := getattr(spec, name)) != usual
    }
    return [spec.body, options]


def job_of(wire: Any) -> JobSpec:
    """A job as it came. Raises BadRequest."""
    match wire:
        case [bytes(body), dict(options)]:
            pass
        case _:
            raise BadRequest("a job is [body, options]")
    more = set(options) - set(_FIELDS)
    if more:
        raise BadRequest(f"a job has no option {sorted(map(str, more))[0]!r:.80}")
    try:
        for field in ("delay_ms", "ttl_ms", "keep_result_ms"):
            value = options.get(field, 0)
            if type(value) is not int or not 0 <= value <= MAX_SECONDS * 1000:
                raise BadRequest(f"{field}={value!r:.80}: give whole milliseconds")
        key = options.get("key")
        if key is not None and (type(key) is not bytes or len(key) > MAX_KEY_BYTES):
            raise BadRequest(f"key={key!r:.80}: give bytes, at most {MAX_KEY_BYTES}")
        _check_size(len(body))
        return JobSpec(
            body,
            _priority(options.get("priority", DEFAULT_PRIORITY)),
            options.get("delay_ms", 0),
            options.get("ttl_ms"),
            key,
            _name("id", options.get("id")),
            _name("unique", options.get("unique")),
            options.get("keep_result_ms"),
            _headers(options.get("headers")),
        )
    except BadRequest:
        raise
    except (MeshError, UnicodeError) as error:
        raise BadRequest(str(error)) from None
