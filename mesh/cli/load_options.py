"""The options of the benches: how much load, how long, of which size, and for whom."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import click

__all__ = [
    "LEAST_SIZE",
    "MOST_SIZE",
    "load_options",
    "parts_option",
    "remote_option",
    "size_option",
]

F = TypeVar("F", bound=Callable[..., Any])

LEAST_SIZE = 16
MOST_SIZE = 16 * 1024 * 1024
"""Bytes of one message; those of ``mesh.cli.bench``, which only a bench imports."""

MOST_PARTS = 64
"""Processes here, each a node with links to all others; or nodes elsewhere."""

MOST = 1e9
"""A second, or seconds: no computer does more, no person waits longer."""


def _check(context: click.Context, parameter: click.Parameter, value: float | None) -> float | None:
    may_be_zero = parameter.name == "warm_up"
    if value is not None and not (0 < value <= MOST or (may_be_zero and value == 0)):
        what = "0 or more" if may_be_zero else "above 0"
        raise click.BadParameter(f"give a number, {what}", context, parameter)
    return value


_LOAD_OPTIONS = (
    click.option(
        "--seconds",
        "duration",
        metavar="SECONDS",
        type=float,
        callback=_check,
        help="How long. Default: 5, or until --count.",
    ),
    click.option("--count", metavar="N", type=click.IntRange(min=1), help="End after so many."),
    click.option(
        "--rate",
        metavar="N",
        type=float,
        callback=_check,
        help="So many a second. Times count from when each was due, however late it began.",
    ),
    click.option(
        "--warmup",
        "warm_up",
        metavar="SECONDS",
        type=float,
        callback=_check,
        help="The same load before it, not measured. Default: 1; with --count none.",
    ),
)


def load_options(function: F) -> Callable[..., Any]:
    """``--seconds``, ``--count``, ``--rate`` and ``--warmup``, which arrive as ``plan``."""

    @functools.wraps(function)
    def with_plan(
        *args: Any,
        rate: float | None,
        duration: float | None,
        count: int | None,
        warm_up: float | None,
        **kwargs: Any,
    ) -> Any:
        from mesh.cli.bench.core.schedule import Plan

        return function(*args, plan=Plan.of(rate, duration, count, warm_up), **kwargs)

    made: Callable[..., Any] = with_plan
    for add in reversed(_LOAD_OPTIONS):
        made = add(made)
    return made


def size_option(least: int, default: int | None, what: str) -> Callable[[F], F]:
    """``--size``."""
    kind = click.IntRange(least, MOST_SIZE)
    return click.option("--size", metavar="BYTES", type=kind, default=default, help=what)


def parts_option(name: str, what: str) -> Callable[[F], F]:
    """How many take part."""
    return click.option(name, metavar="N", type=click.IntRange(1, MOST_PARTS), help=what)


def remote_option(function: F) -> F:
    """``--remote``, which arrives as ``is_remote``."""
    return click.option(
        "--remote",
        "is_remote",
        is_flag=True,
        help="To those who run 'meshctl bench serve', all of them if no number is given, in place "
        "of processes here.",
    )(function)
