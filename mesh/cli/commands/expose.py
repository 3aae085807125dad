"""``meshctl expose``: a TCP server of this machine, or near it, as a stream service of the mesh."""

from __future__ import annotations

import asyncio

import click

from mesh.cli import errors
from mesh.cli.loops import run_until_signal
from mesh.cli.options import Options, json_option, mesh_options, pass_options
from mesh.cli.tunnel.address import Address, AddressType
from patterns.names import check_name

__all__ = ["expose"]

EPILOG = """\b
Examples:
  meshctl expose web 3000                  on the machine with the server ...
  meshctl forward 8080 web                 ... and on another: localhost:8080
  meshctl expose db db.lan:5432            a server that this machine reaches
  meshctl expose web '[::1]:3000' --json

Whoever is in the mesh can connect, as from this machine. With identities a policy says who may:
allow.call = ["web.*"]. Several who expose the same name share its connections.
"""


@click.command(epilog=EPILOG, short_help="Let the mesh connect to a TCP server here.")
@click.argument("name")
@click.argument("target", metavar="[HOST:]PORT", type=AddressType(1))
@json_option("one JSON object per event and line: listening, opened, closed, failed")
@mesh_options
@pass_options
def expose(options: Options, name: str, target: Address, as_json: bool) -> int:
    """Serve the stream NAME, each a connection to the TCP server at [HOST:]PORT, until Ctrl-C.

    HOST is 127.0.0.1 if none is given. 'meshctl forward' is the other end.
    """
    check_name("service", name)
    return run_until_signal(_expose(options, name, target, as_json))


async def _expose(options: Options, name: str, target: Address, as_json: bool) -> None:
    from mesh.cli.tunnel.exposing import MAX_CONNECTIONS, Exposer
    from mesh.cli.tunnel.open_files import make_room
    from mesh.cli.tunnel.telling import Teller

    make_room(MAX_CONNECTIONS)
    teller = Teller(name, as_json)
    node = options.async_node(name, observer=False)
    node.stream(name, concurrency=MAX_CONNECTIONS)(Exposer(target, teller).serve)
    async with node:
        await node.wait_for(timeout=options.timeout)
        teller.tell("listening", address=node.me.address, target=str(target))
        errors.note(f"exposing {target} as {name!r} from {node.me}; Ctrl-C ends")
        await asyncio.get_running_loop().create_future()
