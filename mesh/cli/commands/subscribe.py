"""``meshctl sub``: print messages as they come.

The subscription is made before the others are waited for: whoever is met afterwards learns of it
with the first words exchanged, so when the note says "listening" all who are there know.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import click

import mesh
from mesh.cli import errors
from mesh.cli.options import Options, json_option, mesh_options, pass_options
from mesh.cli.output import print_json, print_text, reader_is_gone
from mesh.cli.text import count_of
from mesh.cli.values import to_json, to_text

__all__ = ["sub"]

LOOK_EVERY = 0.25
"""Seconds between looks whether the reader of the pipe has gone while nothing comes."""

EPILOG = """\b
Examples:
  meshctl sub 'sensors.*.temp'
  meshctl sub 'orders.>' --json | jq .data
  meshctl sub log.error --count 1          wait for one, then end

In a pattern * stands for one token and > for all the rest; quote it for the shell.
"""


class _Subscription(Protocol):
    """What ``Node.subscribe`` gives, as far as it is used here."""

    def get(self, timeout: float | None = None) -> mesh.Message: ...


@click.command(epilog=EPILOG)
@click.argument("pattern")
@click.option("--count", metavar="N", type=click.IntRange(min=1), help="End after N messages.")
@json_option("one JSON object per message and line")
@mesh_options
@pass_options
def sub(options: Options, pattern: str, count: int | None, as_json: bool) -> None:
    """Print the messages that are published to PATTERN, until Ctrl-C.

    What was lost on the way is told on stderr.
    """
    with options.node() as node, node.subscribe(pattern, timeout=options.timeout) as messages:
        node.wait_for(timeout=options.timeout)
        _tell_start(node, pattern, messages.unconfirmed)
        known_missed = 0
        for number, message in enumerate(_until_gone(messages), start=1):
            if message.missed:
                missed = count_of(message.missed, "message")
                errors.note(f"missed {missed} from {message.sender} on the way here")
            if messages.missed > known_missed:
                missed = count_of(messages.missed - known_missed, "message")
                errors.note(f"missed {missed}: they came faster than they were printed")
                known_missed = messages.missed
            _print(message, as_json)
            if number == count:
                return


def _tell_start(node: mesh.Node, pattern: str, unconfirmed: list[mesh.Peer]) -> None:
    here = count_of(len(node.peers()), "node")
    errors.note(f"listening to {pattern!r} among {here}; Ctrl-C ends")
    if unconfirmed:
        names = ", ".join(str(peer) for peer in unconfirmed)
        errors.note(f"not confirmed by {names}: what they publish may be missed")


def _until_gone(messages: _Subscription) -> Iterator[mesh.Message]:
    """The messages; ends also when nobody reads our output any more, though nothing comes."""
    while True:
        try:
            yield messages.get(timeout=LOOK_EVERY)
        except mesh.Timeout:
            if reader_is_gone():
                return
        except mesh.NodeClosed:
            return


def _print(message: mesh.Message, as_json: bool) -> None:
    if as_json:
        document = {
            "subject": message.subject,
            "data": message.data,
            "headers": message.headers,
            "kind": message.kind,
            "sender": {"id": message.sender.id, "name": message.sender.name},
            "missed": message.missed,
        }
        print_json(document, is_line=True)
        return
    headers = f"  {to_json(message.headers)}" if message.headers else ""
    print_text(f"{message.subject}  {message.sender}  {to_text(message.data)}{headers}")
