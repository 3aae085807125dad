"""``meshctl forward``: a local TCP port that leads to what somebody exposes."""

from __future__ import annotations

import click

from mesh.cli import errors
from mesh.cli.completion import complete_peers, complete_services
from mesh.cli.loops import run_until_signal
from mesh.cli.options import Options, json_option, mesh_options_beside_key, pass_options
from mesh.cli.tunnel.address import Address, AddressType

__all__ = ["forward"]

EPILOG = """\b
Examples:
  meshctl forward 8080 web                 what 'meshctl expose web' serves
  meshctl forward 0 web                    any free port, which is printed
  meshctl forward 0.0.0.0:8080 web         for other machines, too: they need no key then
  meshctl forward 5433 db --peer backup-1
  meshctl forward 8080 carts --key user:7  the exposer that owns the key
"""


@click.command(epilog=EPILOG, short_help="Lead a local port to what somebody exposes.")
@click.argument("bind", metavar="[BIND:]PORT", type=AddressType(0))
@click.argument("name", shell_complete=complete_services)
@click.option(
    "--peer",
    metavar="PEER",
    shell_complete=complete_peers,
    help="To this node only: its id, the first digits, name or instance.",
)
@click.option(
    "--key",
    metavar="KEY",
    help="To the node that owns KEY, which is text. (The mesh's key goes before 'forward'.)",
)
@json_option("one JSON object per event and line: listening, opened, closed, failed")
@mesh_options_beside_key
@pass_options
def forward(
    options: Options,
    bind: Address,
    name: str,
    peer: str | None,
    key: str | None,
    as_json: bool,
) -> int:
    """Listen on a local TCP port; each connection goes to a node that serves the stream NAME.

    BIND is 127.0.0.1 if none is given: this machine only. It goes on until Ctrl-C, whoever comes
    and goes; a connection that fails is closed, and told on stderr.
    """
    if peer is not None and key is not None:
        raise click.UsageError("--peer and --key are both given; use one")
    return run_until_signal(_forward(options, bind, name, peer, key, as_json))


async def _forward(
    options: Options,
    bind: Address,
    name: str,
    peer: str | None,
    key: str | None,
    as_json: bool,
) -> None:
    from mesh.cli.tunnel.forwarding import MAX_CONNECTIONS, Forwarder, Target
    from mesh.cli.tunnel.open_files import make_room
    from mesh.cli.tunnel.telling import Teller

    make_room(MAX_CONNECTIONS)
    async with options.async_node() as node:
        await node.wait_for(timeout=options.timeout)
        if not any(name.partition(".")[0] in peer.services for peer in node.peers()):
            errors.note(f"nobody serves {name!r} as yet; 'meshctl services' lists what there is")
        target = Target(name, key, peer, options.timeout)
        await Forwarder(node, target, Teller(name, as_json)).run(bind)
