"""``--trace``, for the commands that send something: a trace begins with it."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any, TypeVar

import click

from mesh.cli import errors
from patterns.traces import TRACEPARENT, TraceContext

__all__ = ["begin", "trace_option"]

F = TypeVar("F", bound=Callable[..., Any])


def trace_option(function: F) -> F:
    """Add ``--trace``, which arrives as the parameter ``trace``."""
    return click.option(
        "--trace",
        is_flag=True,
        help="Begin a trace with it; its id, for 'meshctl trace', is told on stderr.",
    )(function)


def begin(trace: bool, headers: dict[str, str]) -> dict[str, str] | None:
    """The headers to send, with those of a new trace if there is to be one."""
    if not trace:
        return headers or None
    if TRACEPARENT in headers:
        raise click.UsageError(f"--trace and --header {TRACEPARENT}= both name a trace; use one")
    context = TraceContext(secrets.token_hex(16), secrets.token_hex(8))
    errors.note(f"this is trace {context.trace_id}")
    return {**headers, TRACEPARENT: context.traceparent}
