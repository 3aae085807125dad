"""``meshctl peers``: who is here, once or all the time."""

from __future__ import annotations

import sys

import click

import mesh
from mesh.cli import errors
from mesh.cli.options import Options, json_option, mesh_options, pass_options
from mesh.cli.output import live_table, print_json, print_table, print_text
from mesh.cli.peer_view import COLUMNS, DETAILS, as_document, as_row
from mesh.cli.streams import until_gone

__all__ = ["peers"]

SOON = 0.5
"""Seconds of waiting that are too few to have met others; multicast takes a tenth or two."""

EPILOG = """\b
Examples:
  meshctl peers
  meshctl peers --all --mesh lab
  meshctl peers --watch
  meshctl peers --json | jq -r '.[].name'
"""


@click.command(epilog=EPILOG, short_help="List the nodes of the mesh.")
@click.option(
    "--all",
    "show_all",
    is_flag=True,
    help="Observers, the failed and the left too, and services of the mesh itself.",
)
@click.option("--watch", "is_watching", is_flag=True, help="Go on until Ctrl-C, with each change.")
@json_option("an array of peers; with --watch, one peer per change and line")
@mesh_options
@pass_options
def peers(options: Options, show_all: bool, is_watching: bool, as_json: bool) -> None:
    """List the nodes of the mesh.

    SINCE is how long this command has seen the node in that state. It is not listed itself.

    With --watch the table is kept up to date; into a file or pipe goes one line for each node that
    is here, and then one for each change, the end of a node included.
    """
    with options.node() as node:
        if is_watching:
            _watch(node, show_all, as_json)
            return
        node.wait_for(timeout=options.timeout)
        found = _list(node, show_all)
        if as_json:
            print_json([as_document(peer, show_all=show_all) for peer in found])
        elif found:
            print_table(
                COLUMNS, [as_row(peer, show_all=show_all) for peer in found], details=DETAILS
            )
        else:
            explain_nobody(node, options.timeout)


def _list(node: mesh.Node, show_all: bool) -> list[mesh.Peer]:
    return sorted(node.peers(all=show_all), key=lambda peer: (peer.name, peer.id))


def _watch(node: mesh.Node, show_all: bool, as_json: bool) -> None:
    errors.note(f"watching the mesh {node.mesh!r}; Ctrl-C ends")
    if sys.stdout.isatty() and not as_json:
        _keep_table(node, show_all)
    else:
        _print_changes(node, show_all, as_json)


def _keep_table(node: mesh.Node, show_all: bool) -> None:
    with live_table(COLUMNS, details=DETAILS) as show, node.watch() as events:

        def redraw() -> None:
            show([as_row(peer, show_all=show_all) for peer in _list(node, show_all)])

        redraw()
        # SINCE goes on while nothing happens, and of observers no event tells.
        for _ in until_gone(events, redraw):
            redraw()


def _print_changes(node: mesh.Node, show_all: bool, as_json: bool) -> None:
    shown: dict[str, dict[str, object]] = {}

    def look() -> None:
        for peer in sorted(node.peers(all=True), key=lambda peer: (peer.name, peer.id)):
            document = as_document(peer, show_all=show_all)  # peers are equal if their ids are
            if (show_all or not peer.is_observer) and shown.get(peer.id) != document:
                shown[peer.id] = document
                _print_change(peer, show_all, as_json)

    with node.watch() as events:
        look()
        for _ in until_gone(events, look):
            look()


def _print_change(peer: mesh.Peer, show_all: bool, as_json: bool) -> None:
    if as_json:
        print_json(as_document(peer, show_all=show_all), is_line=True)
    else:
        cells = dict(zip(COLUMNS, as_row(peer, show_all=show_all), strict=True))
        since = f"{peer.since.astimezone():%H:%M:%S}" if peer.since is not None else ""
        details = "  ".join(f"{name}: {cells[name]}" for name in DETAILS if cells[name])
        print_text(f"{since}  {cells['state']:<12}  {peer}  {peer.address}  {details}".rstrip())


def explain_nobody(node: mesh.Node, waited: float) -> None:
    """Nobody is a valid answer, but often not the one that was hoped for."""
    sources = node.discovery()
    errors.note(f"no other node in the mesh {node.mesh!r}")
    for name, state in sources.items():
        heard = f", heard {len(state.found)}" if state.found else ""
        reason = f": {state.reason}" if state.reason else ""
        errors.note(f"  looked by {name}: {state.status}{heard}{reason}")
    if waited < SOON:
        errors.note(f"it waited for {waited:g} s only: --timeout gives them longer to answer")
    elif any(state.found for state in sources.values()):
        errors.note("'meshctl discovery' shows what was heard, and why it is not here")
    else:
        errors.note("where multicast does not reach, name a node: --seed HOST:PORT")
