"""A queue as an observer has it, for the commands of ``meshctl queue``."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import click

import mesh
from mesh.cli.completion import complete_queues
from mesh.cli.durations import parse_duration
from mesh.cli.options import Options
from patterns.queues.naming import ANY_HOME, check_queue

if TYPE_CHECKING:
    from mesh.queues.faces import AsyncQueue

__all__ = ["Opened", "ask_first", "duration", "examples", "group_option", "name_argument", "opened"]

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])

LONGEST = 100 * 365 * 86400.0
"""Seconds, of any time that a job is given."""


@dataclass(frozen=True, slots=True)
class Opened:
    """The queue, and the observer that has it."""

    node: mesh.Node
    queue: AsyncQueue

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a verb of the queue on the node's loop."""
        return asyncio.run_coroutine_threadsafe(work, self.node.aio.host.loop).result()


@contextmanager
def opened(options: Options, name: str, hosts: str = ANY_HOME) -> Iterator[Opened]:
    """Raises BadName; what a home says of the question is told without advice on calls."""
    check_queue(name)
    with options.node() as node:
        node.wait_for(timeout=options.timeout)
        queue = node.aio.queue(name, hosts=hosts)
        queue.timeout = options.timeout
        try:
            yield Opened(node, queue)
        except (mesh.NoProvider, mesh.BadRequest) as error:
            raise click.ClickException(str(error)) from None


def examples(*lines: str) -> str:
    """An epilog of command lines."""
    return "\n".join(["\b", "Examples:", *(f"  {line}" for line in lines)])


def name_argument(function: F) -> F:
    """NAME, of a queue."""
    return click.argument("name", shell_complete=complete_queues)(function)


def group_option(what: str) -> Callable[[F], F]:
    """``--group``, of workers."""
    return click.option("--group", metavar="GROUP", help=what)


def duration(context: click.Context, parameter: click.Parameter, value: str | None) -> float | None:
    """For options that take a time."""
    try:
        return None if value is None else parse_duration(value, LONGEST)
    except ValueError as error:
        raise click.BadParameter(str(error), context, parameter) from None


def ask_first(question: str, *, is_sure: bool) -> None:
    """Have it confirmed, if nobody is sure. Raises ClickException where nobody can be asked."""
    if is_sure:
        return
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise click.UsageError(f"{question} --yes says so")
    click.confirm(question, abort=True, err=True)
