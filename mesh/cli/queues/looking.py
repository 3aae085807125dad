"""``meshctl queue ls``, ``stats``, ``peek``, ``status``, ``result`` and ``tail``: looking only."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterable
from contextlib import ExitStack
from datetime import UTC, datetime
from time import sleep
from typing import TYPE_CHECKING

import click

import mesh
from mesh.cli import errors
from mesh.cli.loops import run_until_signal
from mesh.cli.options import Options, json_option, mesh_options, pass_options
from mesh.cli.output import live_table, print_json, print_table, print_text, reader_is_gone
from mesh.cli.queues.opening import Opened, examples, group_option, name_argument, opened
from mesh.cli.queues.showing import (
    GROUP_COLUMNS,
    HOME_COLUMNS,
    JOB_COLUMNS,
    JOB_DETAILS,
    STATUS_COLUMNS,
    counters,
    group_rows,
    home_rows,
    job_document,
    job_row,
    stats_document,
    status_row,
)
from mesh.cli.text import printable
from mesh.cli.values import to_text
from patterns.queues.naming import ANY_HOME, check_queue, queue_of_service, service_of
from patterns.queues.people import MAX_PEEK
from patterns.queues.ticket import STATES

if TYPE_CHECKING:
    from mesh.queues.views import QueueStats

__all__ = ["ls", "peek", "result", "stats", "status", "tail"]

LOOK_EVERY = 1.0
"""Seconds between two looks of ``--watch``."""

NEW_HOMES_EVERY = 0.5
"""Seconds between looks for homes that nobody tails as yet."""

TAIL_EPILOG = """\b
Examples:
  meshctl queue tail emails
  meshctl queue tail emails --json | jq -r 'select(.event == "dead").id'
"""


@click.command(
    epilog=examples("meshctl queue ls", "meshctl queue ls --json | jq -r '.[].queue'"),
    short_help="List the queues of the mesh.",
)
@json_option("an array of queues, each with its groups and homes")
@mesh_options
@pass_options
def ls(options: Options, as_json: bool) -> int:
    """List the queues, the groups of their workers, and how many jobs are in which state."""
    with options.node() as node:
        node.wait_for(timeout=options.timeout)
        names = sorted(_queues(node.peers()))
        asking = _ask(node.aio, names, options.timeout)
        answers = asyncio.run_coroutine_threadsafe(asking, node.aio.host.loop).result()
    found = [answer for answer in answers if not isinstance(answer, mesh.MeshError)]
    if as_json:
        print_json([stats_document(one) for one in found])
    elif found:
        print_table(GROUP_COLUMNS, [row for one in found for row in group_rows(one)])
    elif not names:
        errors.note(f"no queues in the mesh {node.mesh!r}; 'meshctl queue serve NAME' keeps one")
    for name, answer in zip(names, answers, strict=True):
        if isinstance(answer, Exception):
            errors.note(f"{name}: {errors.plain(answer)}")
    return errors.OK if len(found) == len(names) else errors.FAILED


def _queues(peers: Iterable[mesh.Peer]) -> set[str]:
    named = {queue_of_service(name) for peer in peers for name in peer.services}
    return {name for name in named if name}


async def _ask(
    node: mesh.AsyncNode, names: list[str], timeout: float
) -> list[QueueStats | mesh.MeshError]:
    async def ask(name: str) -> QueueStats | mesh.MeshError:
        queue = node.queue(name, hosts=ANY_HOME)
        queue.timeout = timeout
        try:
            return await queue.stats()
        except mesh.MeshError as error:
            return error

    return await asyncio.gather(*map(ask, names))


@click.command(
    epilog=examples("meshctl queue stats emails", "meshctl queue stats emails --watch"),
    short_help="Show how a queue is, at all of its homes together.",
)
@name_argument
@click.option("--watch", "is_watching", is_flag=True, help="Go on until Ctrl-C, each second.")
@json_option("an object; with --watch, one per line")
@mesh_options
@pass_options
def stats(options: Options, name: str, is_watching: bool, as_json: bool) -> None:
    """Show the jobs of each group of workers by state, how long the oldest has waited, what is
    put and done each second, and the homes.

    Counters are since the homes began, rates are of the last ten seconds.
    """
    with opened(options, name) as it, ExitStack() as stack:
        if not is_watching:
            _print_stats(it.run(it.queue.stats()), as_json)
            return
        errors.note(f"watching the queue {name!r}; Ctrl-C ends")
        is_live = sys.stdout.isatty() and not as_json
        show = stack.enter_context(live_table(GROUP_COLUMNS)) if is_live else None
        while not reader_is_gone():
            found = it.run(it.queue.stats())
            if show is not None:
                show(group_rows(found))
            elif as_json:
                print_json({"time": datetime.now(UTC), **stats_document(found)}, is_line=True)
            else:
                print_table(GROUP_COLUMNS, group_rows(found))
            sleep(LOOK_EVERY)


def _print_stats(found: QueueStats, as_json: bool) -> None:
    if as_json:
        print_json(stats_document(found))
        return
    print_table(GROUP_COLUMNS, group_rows(found))
    print_text(f"\n{counters(found)}\n")
    print_table(HOME_COLUMNS, home_rows(found))


@click.command(
    epilog=examples(
        "meshctl queue peek emails", "meshctl queue peek emails --state delayed --limit 3 --json"
    ),
    short_help="Show the first jobs in a state, without taking them.",
)
@name_argument
@click.option(
    "--state",
    type=click.Choice(list(STATES)),
    default="ready",
    help="Default: ready.",
    metavar="STATE",
)
@click.option(
    "--limit",
    metavar="N",
    type=click.IntRange(1, MAX_PEEK),
    default=10,
    help="Jobs of each home. Default: 10.",
)
@group_option("Of this group of workers. Default: all.")
@json_option("an array of jobs")
@mesh_options
@pass_options
def peek(
    options: Options, name: str, state: str, limit: int, group: str | None, as_json: bool
) -> None:
    """Show the first jobs that are ready, delayed, reserved (a worker has them) or dead."""
    with opened(options, name) as it:
        print_jobs(it, state, limit, group, as_json)


def print_jobs(it: Opened, state: str, limit: int, group: str | None, as_json: bool) -> None:
    """The first of them."""
    jobs = it.run(it.queue.peek(state, limit, group=group))
    if as_json:
        print_json([job_document(job) for job in jobs])
    elif jobs:
        print_table(JOB_COLUMNS, [job_row(job) for job in jobs], details=JOB_DETAILS)
    else:
        errors.note(f"no {state} jobs in the queue {it.queue.name!r}")


@click.command(
    epilog=examples("meshctl queue status emails 1a2b3c4d-7"), short_help="Show where a job is."
)
@name_argument
@click.argument("id")
@json_option("an array, with one object for each group of workers")
@mesh_options
@pass_options
def status(options: Options, name: str, id: str, as_json: bool) -> int:
    """Show the state of the job ID in each group of workers: ready, delayed, reserved, dead, or
    done for as long as its outcome is kept."""
    with opened(options, name) as it:
        found = it.run(it.queue.job(id).status())
    if not found:
        raise click.ClickException(f"no job {id!r} is known of {name!r}: it may be done, or gone")
    if as_json:
        print_json(
            [
                {
                    "state": one.state,
                    "group": one.group,
                    "attempts": one.attempts,
                    "reason": one.reason,
                    "put_at": one.put_at,
                }
                for one in found
            ]
        )
    else:
        print_table(STATUS_COLUMNS, [status_row(one) for one in found], details=("reason",))
    return errors.OK


@click.command(
    epilog=examples("meshctl queue result emails 1a2b3c4d-7 --timeout 60"),
    short_help="Print the result of a job, as soon as there is one.",
)
@name_argument
@click.argument("id")
@group_option("Of this group of workers, where several have copies.")
@json_option("the result as JSON, texts too")
@mesh_options
@pass_options
def result(options: Options, name: str, id: str, group: str | None, as_json: bool) -> None:
    """Print what the worker returned for the job ID, waiting for it up to --timeout.

    It must be kept: by --keep-result of put, or --keep-results of serve.
    """
    with opened(options, name) as it:
        print_result(it.run(it.queue.job(id).result(options.timeout, group=group)), as_json)


def print_result(value: object, as_json: bool) -> None:
    """What a worker returned."""
    if as_json:
        print_json(value)
    else:
        print_text(to_text(value))


# What happens, as it happens.


@click.command(epilog=TAIL_EPILOG, short_help="Show what happens in a queue, until Ctrl-C.")
@name_argument
@json_option("one JSON object per event and line")
@mesh_options
@pass_options
def tail(options: Options, name: str, as_json: bool) -> int:
    """Show each job that is put, taken, done, tried again (retry), dead, expired or dropped, at all
    homes, those that come later included. Events that are too many are counted as missed."""
    check_queue(name)
    return run_until_signal(_tail(options, name, as_json))


async def _tail(options: Options, name: str, as_json: bool) -> None:
    service = service_of(name)
    following: dict[str, asyncio.Task[None]] = {}
    async with options.async_node() as node:
        await node.wait_for(timeout=options.timeout)
        if not any(service in peer.services for peer in node.peers()):
            errors.note(f"nobody keeps the queue {name!r} yet; waiting")
        try:
            while True:
                for peer in node.peers():
                    task = following.get(peer.id)
                    if service in peer.services and (task is None or task.done()):
                        if task is not None:
                            task.result()  # a fault of ours
                        following[peer.id] = asyncio.ensure_future(
                            _follow(node, peer, service, options.timeout, as_json)
                        )
                await asyncio.sleep(NEW_HOMES_EVERY)
        finally:
            for task in following.values():
                task.cancel()
            await asyncio.gather(*following.values(), return_exceptions=True)


async def _follow(
    node: mesh.AsyncNode, peer: mesh.Peer, service: str, timeout: float, as_json: bool
) -> None:
    """One home, until it ends."""
    try:
        proxy = node.service(service, peer=peer, timeout=timeout)
        async with proxy.iterate()["tail"]() as events:
            errors.note(f"tailing {peer}")
            async for event in events:
                _print_event(peer, event, as_json)
    except mesh.MeshError as error:
        errors.note(f"{peer}: {errors.plain(error)}")
        await asyncio.sleep(LOOK_EVERY)


def _print_event(peer: mesh.Peer, event: object, as_json: bool) -> None:
    match event:
        case [str(what), str(group), str(id), str(detail)]:
            pass
        case _:
            return  # of another version
    now = datetime.now().astimezone()
    if as_json:
        home = {"id": peer.id, "name": peer.name}
        told = {"time": now, "event": what, "id": id, "group": group, "detail": detail}
        print_json({**told, "home": home}, is_line=True)
    else:
        line = detail.rstrip().rpartition("\n")[2]
        of = f"({group})" if group else ""
        text = f"{now:%H:%M:%S}  {what:8} {id:16} {of} {line}"
        click.echo(printable(text).rstrip())
