"""``meshctl pub`` and ``meshctl broadcast``: send to all whom it concerns.

Both wait until whoever is there is linked, as ``Node.wait_for()`` does, and end when everything
has left the process. That nobody listens is no failure.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

import mesh
from mesh.cli.bodies import Bodies, body_options, file_option
from mesh.cli.completion import complete_groups
from mesh.cli.headers import header_option
from mesh.cli.options import Options, json_option, mesh_options, pass_options
from mesh.cli.output import print_json
from mesh.cli.text import count_of
from mesh.cli.tracing.option import begin, trace_option
from mesh.cli.value_command import ValueCommand
from mesh.cli.values import size_of

__all__ = ["broadcast", "pub"]

FLUSH_LINES = 256
FLUSH_BYTES = 1024 * 1024
"""After so many lines, or bytes, the next ones wait until these have left: a file is read faster
than it is sent, and what waits for a slow receiver is bounded."""

PUB_EPILOG = """\b
Examples:
  meshctl pub sensors.kitchen.temp 21.5
  meshctl pub orders.new '{"id": 7, "items": ["tea"]}'
  meshctl pub log.info "hello there" --header trace=42
  meshctl pub orders.new @order.json
  meshctl pub photos.new --file cat.jpg --binary
  meshctl pub log.app --lines                  each line of stdin, as it comes
"""

BROADCAST_EPILOG = """\b
Examples:
  meshctl broadcast workers '{"reload": true}'
  meshctl broadcast workers @settings.json
  meshctl broadcast '*' hello              every node that joined '*'
"""

Send = Callable[[mesh.Node, Any], int]
"""Sends a value and says to how many."""


@click.command(cls=ValueCommand, epilog=PUB_EPILOG, short_help="Publish to a subject.")
@click.argument("subject")
@click.argument("data", required=False)
@file_option
@click.option("--lines", "by_line", is_flag=True, help="A message for each line, as they come.")
@body_options
@header_option
@trace_option
@json_option("the number of nodes as JSON; with --lines, of messages too")
@mesh_options
@pass_options
def pub(
    options: Options,
    subject: str,
    data: str | None,
    path: str | None,
    by_line: bool,
    form: str | None,
    headers: dict[str, str],
    trace: bool,
    as_json: bool,
) -> None:
    """Publish DATA to SUBJECT and print to how many nodes it went.

    DATA is JSON if it parses as JSON, else text; - reads it from stdin, @PATH from a file, and @@
    stands for a literal @. Without DATA null is sent; with --lines stdin is read.
    """
    sent_headers = begin(trace, headers)

    def send(node: mesh.Node, value: Any) -> int:
        return node.publish(subject, value, headers=sent_headers)

    if by_line:
        _publish_lines(options, subject, send, Bodies(form), data, path, as_json)
        return
    count = _send(options, send, Bodies(form).data(data, path))
    if as_json:
        print_json({"subject": subject, "nodes": count})
    elif count:
        click.echo(f"sent to {count_of(count, 'node')}")
    else:
        click.echo(f"sent to 0 nodes: nobody listens to {subject}")


@click.command(cls=ValueCommand, epilog=BROADCAST_EPILOG, short_help="Send to all of a group.")
@click.argument("group", shell_complete=complete_groups)
@click.argument("data", required=False)
@file_option
@body_options
@header_option
@json_option("the number of members as JSON")
@mesh_options
@pass_options
def broadcast(
    options: Options,
    group: str,
    data: str | None,
    path: str | None,
    form: str | None,
    headers: dict[str, str],
    as_json: bool,
) -> None:
    """Send DATA to every member of GROUP and print how many there are.

    DATA is JSON if it parses as JSON, else text; - reads it from stdin, @PATH from a file, and @@
    stands for a literal @. Without DATA null is sent.
    """
    value = Bodies(form).data(data, path)
    count = _send(
        options, lambda node, value: node.broadcast(group, value, headers=headers or None), value
    )
    if as_json:
        print_json({"group": group, "members": count})
    elif count:
        click.echo(f"sent to {count_of(count, 'member')}")
    else:
        click.echo(f"sent to 0 members: nobody is in the group {group}")


def _send(options: Options, send: Send, value: Any) -> int:
    with options.node() as node:
        node.wait_for(timeout=options.timeout)
        count = send(node, value)
        node.flush(options.timeout)
        return count


def _publish_lines(
    options: Options,
    subject: str,
    send: Send,
    bodies: Bodies,
    data: str | None,
    path: str | None,
    as_json: bool,
) -> None:
    sent = nodes = size = 0
    lines = bodies.lines(data, path)
    with options.node() as node:
        node.wait_for(timeout=options.timeout)
        for value in lines:
            nodes = max(nodes, send(node, value))
            sent += 1
            size += size_of(value)
            if sent % FLUSH_LINES == 0 or size > FLUSH_BYTES:
                node.flush(options.timeout)
                size = 0
        node.flush(options.timeout)
    if as_json:
        print_json({"subject": subject, "messages": sent, "nodes": nodes})
    else:
        nobody = "" if nodes or not sent else f": nobody listens to {subject}"
        click.echo(f"sent {count_of(sent, 'message')} to {count_of(nodes, 'node')}{nobody}")
