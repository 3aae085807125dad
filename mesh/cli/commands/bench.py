"""``meshctl bench``: measure a live mesh: calls, published messages, shared work.

What measures is imported by the commands when they run: all others start as fast without it.
"""

from __future__ import annotations

import secrets
from datetime import datetime
from time import sleep
from typing import TYPE_CHECKING

import click

import mesh
from mesh.cli import errors
from mesh.cli.bodies import Bodies, body_options
from mesh.cli.completion import complete_methods, complete_peers
from mesh.cli.groups import OrderedGroup, require_command
from mesh.cli.headers import header_option
from mesh.cli.load_options import (
    LEAST_SIZE,
    load_options,
    parts_option,
    remote_option,
    size_option,
)
from mesh.cli.options import Options, json_option, mesh_options, pass_options
from mesh.cli.output import print_json, print_text, reader_is_gone
from mesh.cli.peer_names import the_one
from mesh.cli.text import count_of
from mesh.cli.value_command import ValueCommand
from mesh.cli.values import split_words

if TYPE_CHECKING:
    from mesh.cli.bench.core.schedule import Plan
    from mesh.cli.bench.serving import Event

__all__ = ["bench"]

MOST_IN_FLIGHT = 10_000
IN_FLIGHT_AT_A_RATE = 256
"""Calls at once where a rate says when each begins: so many that it is the rate that counts."""

MOST_SUBJECTS = 100_000
SIZE = 128
WORKERS = 2

TIDY_EVERY = 0.25
"""Seconds between two looks of ``serve`` whether a run is over."""

EPILOG = """\b
Examples:
  meshctl bench rpc calc.add 2 3               how fast is this method
  meshctl bench pubsub                         publish as fast as can be
  meshctl bench groupcast --workers 4
  meshctl bench serve                          on another machine ...
  meshctl bench pubsub --remote                ... and then here

What it serves and sends is named meshctl-bench, which nobody else serves or listens to. But it
takes what it can get of this machine, the network and those who take part: on a mesh at work give
a --rate.
"""

RPC_EPILOG = """\b
Examples:
  meshctl bench rpc calc.add 2 3
  meshctl bench rpc calc.add 2 b=3 --in-flight 64 --seconds 10
  meshctl bench rpc calc.add 2 3 --rate 500
  meshctl bench rpc users.find name=Ada --count 1000 --json
  meshctl bench rpc meshctl-bench.echo --size 4096     of 'bench serve' elsewhere
"""

PUBSUB_EPILOG = """\b
Examples:
  meshctl bench pubsub
  meshctl bench pubsub --size 65536 --subscribers 4
  meshctl bench pubsub --rate 10000            latency, one way
  meshctl bench pubsub --subjects 1000 --json
  meshctl bench pubsub --remote                to all who run 'bench serve'
"""

GROUPCAST_EPILOG = """\b
Examples:
  meshctl bench groupcast
  meshctl bench groupcast --workers 8 --size 1024
  meshctl bench groupcast --rate 5000 --seconds 30
  meshctl bench groupcast --remote             to all who run 'bench serve'
"""

SERVE_EPILOG = """\b
Examples:
  meshctl bench serve --key-file mesh.key      on one machine, and on the other:
  meshctl bench pubsub --remote --key-file mesh.key
  meshctl bench rpc meshctl-bench.echo --size 1024 --key-file mesh.key
"""


@click.group(
    cls=OrderedGroup,
    epilog=EPILOG,
    short_help="Measure calls, publishing and shared work.",
    invoke_without_command=True,
    no_args_is_help=False,
)
@click.pass_context
def bench(context: click.Context) -> None:
    """Measure a live mesh: what it takes a second, and how long it takes.

    rpc calls a method that is there. pubsub and groupcast bring their own receivers, as processes
    of this machine, or with --remote those who run 'meshctl bench serve' on others.
    """
    require_command(context)


@bench.command(cls=ValueCommand, epilog=RPC_EPILOG, short_help="Call a method again and again.")
@click.argument("method", shell_complete=complete_methods)
@click.argument("args", nargs=-1)
@click.option(
    "--in-flight",
    metavar="N",
    type=click.IntRange(1, MOST_IN_FLIGHT),
    help=f"Calls at once. Default: 1; with --rate at most {IN_FLIGHT_AT_A_RATE}.",
)
@load_options
@size_option(0, None, "Call it with so many random bytes, in place of ARGS.")
@click.option(
    "--peer",
    metavar="PEER",
    shell_complete=complete_peers,
    help="This node only: its id, the first digits, name or instance.",
)
@body_options
@header_option
@json_option("one JSON document; times in seconds")
@mesh_options
@pass_options
def rpc(
    options: Options,
    plan: Plan,
    method: str,
    args: tuple[str, ...],
    in_flight: int | None,
    size: int | None,
    peer: str | None,
    form: str | None,
    headers: dict[str, str],
    as_json: bool,
) -> None:
    """Call METHOD again and again with the same ARGS, and print how long it takes.

    They are real calls: think of what the method does. ARGS are as those of call. Errors are
    counted by kind and end nothing; the exit code is 1 if no call was answered.
    """
    from mesh.cli.bench.calling import Target, measure

    service, dot, name = method.partition(".")
    if not dot:
        raise click.UsageError(f"{method!r} names no method; write SERVICE.METHOD, as in calc.add")
    if size is not None and args:
        raise click.UsageError("--size and ARGS are both given; use one")
    positional, named = split_words(args, Bodies(form).value)
    if size is not None:
        positional = [secrets.token_bytes(size)]
    if in_flight is None:
        in_flight = 1 if plan.rate is None else IN_FLIGHT_AT_A_RATE
    with options.node() as node:
        node.wait_for(timeout=options.timeout)
        how = {
            "timeout": options.timeout,
            "peer": _find(node, peer) if peer is not None else None,
            "headers": headers or None,
        }
        target = Target(service, name, positional, named, how)
        measure(node, target, plan, in_flight, as_json=as_json)


@bench.command(epilog=PUBSUB_EPILOG, short_help="Publish to subscribers of its own.")
@size_option(LEAST_SIZE, SIZE, f"Of one message. Default: {SIZE}; at least {LEAST_SIZE}.")
@parts_option("--subscribers", "Each gets every message. Default: 1.")
@click.option(
    "--subjects",
    metavar="N",
    type=click.IntRange(1, MOST_SUBJECTS),
    default=1,
    help="So many subjects in turn. Default: 1.",
)
@remote_option
@load_options
@click.option("--force", is_flag=True, help="Even if others listen to everything, and get it too.")
@json_option("one JSON document; times in seconds")
@mesh_options
@pass_options
def pubsub(
    options: Options,
    plan: Plan,
    size: int,
    subscribers: int | None,
    subjects: int,
    is_remote: bool,
    force: bool,
    as_json: bool,
) -> None:
    """Publish to subscribers of its own, and print how much arrives, and how soon.

    Without --rate as fast as they take it. With --rate it waits for nobody; what is too much is
    lost, and told. Each message is counted and checked. Latency is one way, at a --rate, and only
    where all have the same clock: on one host.
    """
    from mesh.cli.bench import messaging

    receivers = messaging.Receivers(subscribers, is_remote)
    messaging.pubsub(
        options, plan, receivers, size=size, subjects=subjects, force=force, as_json=as_json
    )


@bench.command(epilog=GROUPCAST_EPILOG, short_help="Share work out to workers of its own.")
@size_option(LEAST_SIZE, SIZE, f"Of one message. Default: {SIZE}; at least {LEAST_SIZE}.")
@parts_option("--workers", f"Each message is for one of them. Default: {WORKERS}.")
@remote_option
@load_options
@json_option("one JSON document; times in seconds")
@mesh_options
@pass_options
def groupcast(
    options: Options,
    plan: Plan,
    size: int,
    workers: int | None,
    is_remote: bool,
    as_json: bool,
) -> None:
    """Send each message to one worker of a group of its own, until all are acknowledged.

    Balance is what the busiest worker handled, divided by the mean. The exit code is 1 when not
    all was acknowledged within the timeout, or not each handled once.
    """
    from mesh.cli.bench import messaging

    if workers is None and not is_remote:
        workers = WORKERS
    receivers = messaging.Receivers(workers, is_remote)
    messaging.groupcast(options, plan, receivers, size=size, as_json=as_json)


@bench.command(epilog=SERVE_EPILOG, short_help="Take part in benches of other hosts.")
@json_option("one JSON object per run that begins or ends, and line")
@mesh_options
@pass_options
def serve(options: Options, as_json: bool) -> None:
    """Take part in the benches of others, until Ctrl-C: as a subscriber, a worker, or an echo.

    It is a node of the name meshctl-bench, whose method echo returns what it is given. Whoever is
    in the mesh may load it: let it run while you measure.
    """
    from mesh.cli.bench.serving import Server

    with Server(options.settings(), lambda event: _show(event, as_json)) as server:
        server.node.wait_for(timeout=options.timeout)
        me, name = server.node.me, server.node.mesh
        errors.note(f"serving as {me} at {me.address} in the mesh {name!r}; Ctrl-C ends")
        while not reader_is_gone():
            server.tidy()
            sleep(TIDY_EVERY)


def _show(event: Event, as_json: bool) -> None:
    now = datetime.now().astimezone()
    if as_json:
        bench = {"id": event.bench.id, "name": event.bench.name}
        document = {"time": now, "event": event.what, "run": event.run, "kind": event.kind}
        print_json(document | {"bench": bench, "received": event.received}, is_line=True)
        return
    got = f": {count_of(event.received, 'message')}" if event.what == "ended" else ""
    print_text(f"{now:%H:%M:%S}  {event.run}  {event.kind} for {event.bench} {event.what}{got}")


def _find(node: mesh.Node, wanted: str) -> mesh.Peer:
    return the_one(
        node.peers(all=True), wanted, among="peers", advice="'meshctl peers --all' lists them"
    )
