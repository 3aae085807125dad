"""``meshctl peers``: who is here."""

from __future__ import annotations

from collections.abc import Sequence

import click

import mesh
from mesh.cli import errors
from mesh.cli.options import Options, json_option, mesh_options, pass_options
from mesh.cli.output import print_json, print_table
from mesh.cli.text import relative

__all__ = ["peers"]

EPILOG = """\b
Examples:
  meshctl peers
  meshctl peers --all --mesh lab
  meshctl peers --json | jq -r '.[].name'
"""


@click.command(epilog=EPILOG)
@click.option("--all", "show_all", is_flag=True, help="Observers, the failed and the left too.")
@json_option("an array of peers")
@mesh_options
@pass_options
def peers(options: Options, show_all: bool, as_json: bool) -> None:
    """List the nodes of the mesh.

    SINCE is how long this command has seen the node in that state. It is not listed itself.
    """
    with options.node() as node:
        node.wait_for(timeout=options.timeout)
        found = sorted(node.peers(all=show_all), key=lambda peer: (peer.name, peer.id))
        if as_json:
            print_json([_as_json(peer) for peer in found])
        elif found:
            _print(found)
        else:
            _explain_nobody(node)


def _as_json(peer: mesh.Peer) -> dict[str, object]:
    return {
        "id": peer.id,
        "name": peer.name,
        "address": peer.address,
        "state": peer.state,
        "since": peer.since,
        "services": peer.services,
        "groups": sorted(peer.groups),
        "tags": peer.tags,
        "observer": peer.is_observer,
    }


def _print(found: Sequence[mesh.Peer]) -> None:
    rows = [
        (
            peer.name,
            peer.id[:8],
            peer.address,
            f"{peer.state}, observer" if peer.is_observer else peer.state,
            relative(peer.since),
            ", ".join(sorted(peer.services)),
            ", ".join(sorted(peer.groups)),
            ", ".join(f"{key}={value}" for key, value in sorted(peer.tags.items())),
        )
        for peer in found
    ]
    columns = ("name", "id", "address", "state", "since", "services", "groups", "tags")
    print_table(columns, rows, details=("services", "groups", "tags"))


def _explain_nobody(node: mesh.Node) -> None:
    """Nobody is a valid answer, but often not the one that was hoped for."""
    sources = node.sources()
    errors.note(f"no other node in the mesh {node.mesh!r}")
    for name, state in sources.items():
        heard = f", heard {state.seen}" if state.seen else ""
        reason = f": {state.reason}" if state.reason else ""
        errors.note(f"  looked by {name}: {state.status}{heard}{reason}")
    if any(state.seen for state in sources.values()):
        errors.note("what was heard is of another mesh or key: check --mesh and --key-file")
    else:
        errors.note("where multicast does not reach, name a node: --seed HOST:PORT")
