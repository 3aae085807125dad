"""``meshctl services``: what can be called, and on how many nodes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

import click

import mesh
from mesh.cli import errors
from mesh.cli.options import Options, json_option, mesh_options, pass_options
from mesh.cli.output import print_json, print_table
from mesh.cli.peer_view import is_shown

__all__ = ["services"]

EPILOG = """\b
Examples:
  meshctl services
  meshctl services --json | jq -r '.[] | select(.nodes < 2) | .service'
"""


@dataclass
class _Service:
    nodes: int = 0
    methods: Counter[str] = field(default_factory=Counter)

    def described(self) -> str:
        """The methods; those that only some of the nodes serve say how many."""
        return ", ".join(
            name if count == self.nodes else f"{name} ({count} of {self.nodes})"
            for name, count in sorted(self.methods.items())
        )


@click.command(epilog=EPILOG, short_help="List what can be called, and on how many nodes.")
@click.option("--all", "show_all", is_flag=True, help="Those of the mesh itself, such as queues.")
@json_option("an array of services; each method has the number of nodes that serve it")
@mesh_options
@pass_options
def services(options: Options, show_all: bool, as_json: bool) -> None:
    """List the services of the mesh, their methods, and how many alive nodes serve them."""
    with options.node() as node:
        node.wait_for(timeout=options.timeout)
        found = sorted(_gather(node.peers(), show_all).items())
        if as_json:
            print_json(
                [
                    {
                        "service": name,
                        "nodes": it.nodes,
                        "methods": dict(sorted(it.methods.items())),
                    }
                    for name, it in found
                ]
            )
        elif found:
            rows = [(name, str(it.nodes), it.described()) for name, it in found]
            print_table(("service", "nodes", "methods"), rows)
        else:
            errors.note(
                f"no services in the mesh {node.mesh!r}; 'meshctl peers' says where was looked"
            )


def _gather(peers: Iterable[mesh.Peer], show_all: bool) -> dict[str, _Service]:
    found: dict[str, _Service] = {}
    for peer in peers:
        if peer.state != "alive":
            continue
        for name, methods in peer.services.items():
            if not is_shown(name, show_all=show_all):
                continue
            service = found.setdefault(name, _Service())
            service.nodes += 1
            service.methods.update(methods)
    return found
