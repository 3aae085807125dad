"""``meshctl pub`` and ``meshctl broadcast``: send one message to all whom it concerns.

Both wait until whoever is there is linked, as ``Node.wait_for()`` does, and end when the message
has left the process. That nobody listens is no failure.
"""

from __future__ import annotations

from collections.abc import Callable

import click

import mesh
from mesh.cli.headers import header_option
from mesh.cli.options import Options, ValueCommand, json_option, mesh_options, pass_options
from mesh.cli.output import print_json
from mesh.cli.text import count_of
from mesh.cli.values import parse_word

__all__ = ["broadcast", "pub"]

PUB_EPILOG = """\b
Examples:
  meshctl pub sensors.kitchen.temp 21.5
  meshctl pub orders.new '{"id": 7, "items": ["tea"]}'
  meshctl pub log.info "hello there" --header trace=42
"""

BROADCAST_EPILOG = """\b
Examples:
  meshctl broadcast workers '{"reload": true}'
  meshctl broadcast '*' hello              every node that joined '*'
"""


@click.command(cls=ValueCommand, epilog=PUB_EPILOG)
@click.argument("subject")
@click.argument("data", required=False)
@header_option
@json_option("the number of nodes as JSON")
@mesh_options
@pass_options
def pub(
    options: Options, subject: str, data: str | None, headers: dict[str, str], as_json: bool
) -> None:
    """Publish DATA to SUBJECT and print to how many nodes it went.

    DATA is JSON if it parses as JSON, else text; without it null is sent.
    """
    value = parse_word(data) if data is not None else None
    count = _send(options, lambda node: node.publish(subject, value, headers=headers or None))
    if as_json:
        print_json({"subject": subject, "nodes": count})
    elif count:
        click.echo(f"sent to {count_of(count, 'node')}")
    else:
        click.echo(f"sent to 0 nodes: nobody listens to {subject}")


@click.command(cls=ValueCommand, epilog=BROADCAST_EPILOG)
@click.argument("group")
@click.argument("data", required=False)
@header_option
@json_option("the number of members as JSON")
@mesh_options
@pass_options
def broadcast(
    options: Options, group: str, data: str | None, headers: dict[str, str], as_json: bool
) -> None:
    """Send DATA to every member of GROUP and print how many there are.

    DATA is JSON if it parses as JSON, else text; without it null is sent.
    """
    value = parse_word(data) if data is not None else None
    count = _send(options, lambda node: node.broadcast(group, value, headers=headers or None))
    if as_json:
        print_json({"group": group, "members": count})
    elif count:
        click.echo(f"sent to {count_of(count, 'member')}")
    else:
        click.echo(f"sent to 0 members: nobody is in the group {group}")


def _send(options: Options, send: Callable[[mesh.Node], int]) -> int:
    with options.node() as node:
        node.wait_for(timeout=options.timeout)
        count = send(node)
        node.flush(options.timeout)
        return count
