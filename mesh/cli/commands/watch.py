"""``meshctl watch``: what happens to the nodes of the mesh, as it happens."""

from __future__ import annotations

import re
from datetime import datetime

import click

import mesh
from mesh.cli import errors
from mesh.cli.options import Options, json_option, mesh_options, pass_options
from mesh.cli.output import print_json, print_text
from mesh.cli.peer_view import as_document
from mesh.cli.streams import until_gone
from mesh.cli.text import count_of

__all__ = ["name_of", "show", "watch"]

EPILOG = """\b
Examples:
  meshctl watch
  meshctl watch --json | jq 'select(.event == "failed") | .peer.name'
  meshctl watch --count 1                  wait for the first node

The events: joined, updated, suspected, recovered, unresponsive, failed, left, gap.
"""


@click.command(epilog=EPILOG, short_help="Tell of nodes that come, change and go.")
@click.option("--count", metavar="N", type=click.IntRange(min=1), help="End after N events.")
@json_option("one JSON object per event and line")
@mesh_options
@pass_options
def watch(options: Options, count: int | None, as_json: bool) -> None:
    """Print what happens to the nodes of the mesh, until Ctrl-C.

    Each node that is here when it begins is told as joined. Times are local. A gap means that
    messages of that node were lost on the way to this one. Observers are not told of.
    """
    with options.node() as node, node.watch() as events:
        errors.note(f"watching the mesh {node.mesh!r}; Ctrl-C ends")
        for number, event in enumerate(until_gone(events), start=1):
            show(event, as_json)
            if number == count:
                return


def name_of(event: mesh.Event) -> str:
    """The name of an event for people and programs: "joined" for ``PeerJoined``."""
    return re.sub("^Peer", "", type(event).__name__).lower()


def show(event: mesh.Event, as_json: bool) -> None:
    """Print one event, with the time at which it was heard of."""
    now = datetime.now().astimezone()
    missed = event.missed if isinstance(event, mesh.Gap) else 0
    if as_json:
        document = {"time": now, "event": name_of(event), "reason": event.reason}
        if isinstance(event, mesh.Gap):
            document["missed"] = missed
        print_json(document | {"peer": as_document(event.peer)}, is_line=True)
        return
    reason = event.reason
    if isinstance(event, mesh.Gap):
        lost = "an unknown number of messages" if missed is None else count_of(missed, "message")
        reason = f"{lost} lost on the way here"
    print_text(
        f"{now:%H:%M:%S}.{now.microsecond // 1000:03d}  {name_of(event):<12}  "
        f"{event.peer}  {reason}"
    )
