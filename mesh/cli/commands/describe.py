"""``meshctl describe``: the methods of a service, or of a node, as their callers need them."""

from __future__ import annotations

from collections.abc import Sequence

import click

import mesh
from mesh.cli import errors
from mesh.cli.asking import ask_now
from mesh.cli.completion import complete_services_and_peers
from mesh.cli.describing import document, gather, node_row, text
from mesh.cli.options import Options, json_option, mesh_options, pass_options
from mesh.cli.output import print_json, print_table, print_text
from mesh.cli.peer_names import matching

__all__ = ["describe"]

COLUMNS = ("node", "version", "groups", "listens to", "note")

EPILOG = """\b
Examples:
  meshctl describe calc                    a service, as all of its nodes have it
  meshctl describe 6bff0b0b                all that this node serves
  meshctl describe calc --json | jq -r '.methods[].signature'
"""


@click.command(epilog=EPILOG, short_help="Show the signatures and texts of methods.")
@click.argument("wanted", metavar="SERVICE|NODE", shell_complete=complete_services_and_peers)
@click.option("--all", "show_all", is_flag=True, help="Methods of the mesh itself, too.")
@json_option("an object with the methods and the nodes")
@mesh_options
@pass_options
def describe(options: Options, wanted: str, show_all: bool, as_json: bool) -> int:
    """Show what can be called: signatures, what is written about them, how they answer, and how
    many run at once; then the nodes that serve it, their versions, groups and subscriptions.

    Where nodes of one service have different signatures each is shown, with its nodes. A name that
    is a service and a node means the service; an id is a node.
    """
    with options.node() as node:
        node.wait_for(timeout=options.timeout)
        service, peers = _whom(node, wanted)
        answers = ask_now(node, peers, "describe", service, timeout=options.timeout)
    methods = gather(answers, show_all=show_all or service is not None)
    answered = sum(not answer.trouble for answer in answers)
    if as_json:
        print_json({"service": service, **document(methods, answers)})
    else:
        if methods:
            print_text(f"{text(methods, answered)}\n")
        elif answered:
            errors.note(f"{wanted} has no methods")
        print_table(COLUMNS, [node_row(answer) for answer in answers], details=COLUMNS[2:])
    for answer in answers:
        if answer.error is not None:
            errors.note(f"{answer.peer}: {answer.trouble}: {errors.plain(answer.error)}")
    return errors.OK if answered else errors.FAILED


def _whom(node: mesh.Node, wanted: str) -> tuple[str | None, Sequence[mesh.Peer]]:
    """The service and its nodes; or no service, and the nodes of that name."""
    peers = sorted(node.peers(all=True), key=lambda peer: (peer.name, peer.id))
    here = [peer for peer in peers if peer.state not in ("failed", "left")]
    serving = [peer for peer in here if wanted in peer.services]
    if serving:
        return wanted, serving
    found = matching(here, wanted)
    if not found:
        raise click.ClickException(
            f"{wanted!r} is neither a service nor a node; 'meshctl services' and 'meshctl peers' "
            "list them"
        )
    return None, found
