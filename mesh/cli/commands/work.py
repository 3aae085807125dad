"""``meshctl work``: any program as a worker of queues."""

from __future__ import annotations

import asyncio
import math
import os
import shutil
import signal
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from mesh.cli import errors
from mesh.cli.completion import complete_queues
from mesh.cli.loops import new_loop, wipe_interrupt
from mesh.cli.options import Options, mesh_options, pass_options
from mesh.cli.text import count_of
from patterns.queues.naming import check_queue, service_of
from patterns.queues.retry import Retry

if TYPE_CHECKING:
    import mesh
    from mesh.cli.working.performing import Performer

__all__ = ["work"]

F = TypeVar("F", bound=Callable[..., Any])

LONGEST_DRAIN = 7 * 86400.0
"""Seconds; as long as a lease may be."""

EPILOG = """\b
Examples:
  meshctl work -q emails -- ./send.sh
  meshctl work -q urgent -q bulk --concurrency 8 -- ./send.sh --verbose
  meshctl work -q thumbnails --hard-limit 60 --result -- python3 shrink.py

\b
The exit code decides:
  0          done
  65, 100    dead: no other attempt helps
  75         tried again, however often that was
  other      tried again as --retry-... say; so it is after a signal
"""


def _limit(context: click.Context, parameter: click.Parameter, value: float | None) -> float | None:
    if value is not None and not (math.isfinite(value) and value > 0):
        raise click.BadParameter("give seconds, above 0", context, parameter)
    return value


def _seconds(name: str, help: str, **settings: Any) -> Callable[[F], F]:
    return click.option(name, metavar="SECONDS", type=float, callback=_limit, help=help, **settings)


@click.command(epilog=EPILOG, short_help="Do the jobs of a queue with a program.")
@click.argument("command", nargs=-1, required=True, metavar="-- PROGRAM [ARGS]...")
@click.option(
    "-q",
    "--queue",
    "queues",
    metavar="NAME[=WEIGHT]",
    multiple=True,
    required=True,
    shell_complete=complete_queues,
    help="A queue; may be repeated: the first that has jobs comes first, or each by its weight.",
)
@click.option("--group", metavar="GROUP", default="", help="Of workers: each group gets every job.")
@click.option(
    "--concurrency",
    metavar="N",
    type=click.IntRange(min=1),
    default=1,
    help="Programs at once. Default: 1.",
)
@_seconds("--lease", "After which a job goes to others, unless touched. Default: 60.", default=60.0)
@click.option("--no-touch", is_flag=True, help="Do not touch the lease while the program runs.")
@click.option("--rate", metavar="N", type=float, help="Jobs a second, at most.")
@click.option(
    "--retry-attempts",
    metavar="N",
    type=click.IntRange(min=0),
    default=10,
    help="Attempts until a job is dead; 0: for ever. Default: 10.",
)
@_seconds("--retry-base", "Before the second attempt; then twice as long. Default: 1.", default=1.0)
@_seconds("--retry-cap", "The longest pause. Default: 600.", default=600.0)
@_seconds("--soft-limit", "Then SIGTERM to all that the program started.")
@_seconds("--hard-limit", "Then SIGKILL.")
@_seconds("--grace", "From SIGTERM to SIGKILL when a job is lost. Default: 5.", default=5.0)
@click.option("--raw", is_flag=True, help="Texts and bytes as they are on stdin, not as JSON.")
@click.option("--result", is_flag=True, help="What it writes, JSON or text, is the job's result.")
@click.option("--quiet", is_flag=True, help="Show nothing of what programs say.")
@click.option("--name", metavar="NAME", default="worker", help="Of this node. Default: worker.")
@mesh_options
@pass_options
def work(
    options: Options,
    command: tuple[str, ...],
    queues: tuple[str, ...],
    group: str,
    concurrency: int,
    lease: float,
    no_touch: bool,
    rate: float | None,
    retry_attempts: int,
    retry_base: float,
    retry_cap: float,
    soft_limit: float | None,
    hard_limit: float | None,
    grace: float,
    raw: bool,
    result: bool,
    quiet: bool,
    name: str,
) -> int:
    """Run PROGRAM for each job: its data is JSON on stdin; MESH_JOB_ID, MESH_QUEUE, MESH_ATTEMPTS,
    MESH_JOB_KEY and MESH_HEADER_... are in its environment. What it says goes to stderr.

    The lease is touched for as long as the program runs. When it is lost even so, SIGTERM goes to
    the program and all that it started, then SIGKILL. Ctrl-C and SIGTERM drain: no more jobs, and
    what runs ends; the second one kills, and the jobs go to other workers.
    """
    from mesh.cli.working.performing import Performance, Performer
    from mesh.cli.working.program import Limits

    _check_program(command[0])
    retry = Retry(retry_attempts or None, base=retry_base, cap=retry_cap)
    performer = Performer(
        Performance(
            command=command,
            limits=Limits(soft_limit, hard_limit, grace),
            retry=retry,
            touch_lease=None if no_touch else lease,
            is_raw=raw,
            has_result=result,
            is_quiet=quiet,
        )
    )
    node = options.async_node(name, observer=False)
    node.worker(
        _order(queues),
        group=group,
        concurrency=concurrency,
        lease=lease,
        max_in_flight=concurrency,
        retry=retry,
        rate=rate,
    )(performer.perform)
    with asyncio.Runner(loop_factory=new_loop) as runner:
        return runner.run(_work(node, performer, list(_order(queues)), options.timeout))


def _check_program(program: str) -> None:
    """Raises UsageError for one that cannot be run."""
    if not hasattr(os, "pidfd_open"):
        raise click.UsageError("work needs Linux: elsewhere there is no handle of a process")
    if shutil.which(program) is None:
        raise click.UsageError(f"{program} is no program that can be run; write ./{program}?")


def _order(queues: tuple[str, ...]) -> list[str] | dict[str, float]:
    """Names, or names and weights. Raises UsageError."""
    weights: dict[str, float] = {}
    for text in queues:
        name, equals, weight = text.partition("=")
        check_queue(name)
        if name in weights:
            raise click.UsageError(f"the queue {name!r} is given twice")
        try:
            weights[name] = float(weight) if equals else 0.0
        except ValueError:
            raise click.UsageError(f"-q {text!r}: write NAME=WEIGHT, a number") from None
    if not any("=" in text for text in queues):
        return list(weights)
    if not all("=" in text for text in queues):
        raise click.UsageError("-q: give all of the queues a weight, or none")
    return weights


async def _work(
    node: mesh.AsyncNode, performer: Performer, queues: list[str], timeout: float
) -> int:
    loop = asyncio.get_running_loop()
    numbers: list[int] = []
    is_told, is_told_again = asyncio.Event(), asyncio.Event()

    def on_signal(number: int) -> None:
        if number == signal.SIGINT:
            wipe_interrupt()
        (is_told_again if numbers else is_told).set()
        numbers.append(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup leaves it
            loop.add_signal_handler(number, on_signal, number)
    try:
        async with node:
            node.host.end_run = is_told.set  # for 'meshctl drain --stop'
            errors.note(f"{node.me} works for {', '.join(queues)}; Ctrl-C drains")
            looking = asyncio.ensure_future(_look(node, queues, timeout))
            try:
                await is_told.wait()
            finally:
                looking.cancel()
            await _end(node, performer, is_told_again)
    finally:
        performer.kill_all()
        await performer.wait_ended()
    return 128 + numbers[0] if numbers else errors.OK


async def _look(node: mesh.AsyncNode, queues: list[str], timeout: float) -> None:
    """Say for which queues it waits: that nothing happens may have this cause."""
    await node.wait_for(timeout=timeout)
    served = {service for peer in node.peers() for service in peer.services}
    for queue in queues:
        if service_of(queue) not in served:
            errors.note(f"nobody keeps the queue {queue!r} yet: 'meshctl queue serve {queue}'")


async def _end(node: mesh.AsyncNode, performer: Performer, is_told_again: asyncio.Event) -> None:
    """Let what runs end, or kill it."""
    if performer.running:
        errors.note(f"draining: {count_of(performer.running, 'program')} to end; again to kill")
    draining = asyncio.ensure_future(node.drain(LONGEST_DRAIN))
    told = asyncio.ensure_future(is_told_again.wait())
    try:
        await asyncio.wait({draining, told}, return_when=asyncio.FIRST_COMPLETED)
        if not draining.done():
            performer.kill_all()
            await performer.wait_ended()
    finally:
        told.cancel()
        draining.cancel()
        await asyncio.wait({draining, told})
    if not draining.cancelled():
        draining.result()
