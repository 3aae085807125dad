"""``meshctl queue serve``: a home of queues."""

from __future__ import annotations

import asyncio
from typing import Any

import click

from mesh.cli import errors
from mesh.cli.loops import run_until_signal
from mesh.cli.options import Options, mesh_options, pass_options
from mesh.cli.queues.opening import duration
from patterns.queues.jobspec import MAX_ATTEMPTS
from patterns.queues.naming import check_queue

__all__ = ["serve"]

EPILOG = """\b
Examples:
  meshctl queue serve emails --store sqlite:///jobs.db
  meshctl queue serve a b --store sqlite:////var/lib/jobs.db --keep-results 1h
  meshctl queue serve alerts --max-length 10000 --overflow drop-oldest --ttl 5m

Several homes may have a queue: workers draw from all of them. Producers put
here by node.queue("emails", hosts="queues"), or by 'meshctl queue put'.
"""


@click.command(epilog=EPILOG, short_help="Keep queues, until Ctrl-C.")
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@click.option(
    "--store",
    metavar="URL",
    help="sqlite:///PATH, a file of this process alone. Default: in memory, gone with it.",
)
@click.option(
    "--name",
    "node_name",
    metavar="NAME",
    default="queues",
    help="Of this node, and its service for hosts=. Default: queues.",
)
@click.option("--max-length", metavar="N", type=click.IntRange(min=1), help="Jobs of each queue.")
@click.option(
    "--overflow",
    metavar="reject|drop-oldest",
    type=click.Choice(["reject", "drop-oldest"]),
    default="reject",
    help="What becomes of more than that. Default: reject.",
)
@click.option("--ttl", metavar="TIME", callback=duration, help="After which jobs are of no use.")
@click.option("--dedup", metavar="TIME", callback=duration, help="For which an id is one job.")
@click.option(
    "--max-attempts",
    metavar="N",
    type=click.IntRange(min=0),
    default=MAX_ATTEMPTS,
    help=f"A job whose workers died so often is dead; 0: never. Default: {MAX_ATTEMPTS}.",
)
@click.option(
    "--group",
    "groups",
    metavar="GROUP",
    multiple=True,
    help="A group of workers that has copies from the start; then there are no others.",
)
@click.option("--keep-results", metavar="TIME", callback=duration, help="Of jobs that are done.")
@mesh_options
@pass_options
def serve(
    options: Options,
    /,
    names: tuple[str, ...],
    store: str | None,
    node_name: str,
    overflow: str,
    dedup: float | None,
    max_attempts: int,
    keep_results: float | None,
    groups: tuple[str, ...],
    **settings: Any,
) -> int:
    """Keep the queues NAME, so that they outlive who puts into them.

    With --store a job is on the disk before its producer hears that it is put; after a restart all
    is as it was.
    """
    settings |= {
        "store": store,
        "overflow": overflow.replace("-", "_"),
        "dedup": dedup or 0.0,
        "max_attempts": max_attempts or None,
        "keep_results": keep_results or 0.0,
        "groups": groups or None,
    }
    for name in names:
        check_queue(name)
    return run_until_signal(_serve(options, dict.fromkeys(names), node_name, settings))


async def _serve(
    options: Options, names: dict[str, None], node_name: str, settings: dict[str, Any]
) -> None:
    node = options.async_node(node_name, observer=False)
    for name in names:
        node.queue(name, **settings)
    is_told = asyncio.Event()
    async with node:
        node.host.end_run = is_told.set  # for 'meshctl drain --stop'
        where = settings["store"] or "memory: they go with this process (--store keeps them)"
        errors.note(f"{node.me} keeps {', '.join(names)} in {where}; Ctrl-C ends")
        await is_told.wait()
