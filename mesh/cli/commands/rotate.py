"""``meshctl rotate``: a new mesh key, while everything runs."""

from __future__ import annotations

import click

import mesh
from mesh.cli import errors
from mesh.cli.commands.peers import explain_nobody
from mesh.cli.durations import parse_duration, spelled
from mesh.cli.options import Options, json_option, mesh_options, pass_options
from mesh.cli.output import print_json
from mesh.cli.places import authority_folder
from mesh.cli.telling import credentials_of, tell
from mesh.cli.text import count_of
from mesh.security import Credentials
from mesh.security.authority import Authority
from mesh.security.certificates import MAX_GRACE_SECONDS, RotationOrder

__all__ = ["rotate"]

LEAST_GRACE = 1.0
"""Seconds: at its end whoever has not shown that it has the new key is cut off."""

EPILOG = """\b
Examples:
  meshctl rotate --key-file lab.key
  meshctl rotate --grace 1d --mesh lab
  meshctl rotate --json | jq -r .key

Look at 'meshctl peers' first: everybody there is told the new key. Who is not there, and starts
with the old one within the grace, is told as well; later it is a stranger.
"""


@click.command(epilog=EPILOG, short_help="Change the mesh key on a running mesh.")
@click.option(
    "--grace",
    metavar="TIME",
    default="1h",
    show_default=True,
    help="How long the old key is accepted, too: 90s, 10m, 2h, up to 30d.",
)
@json_option("the new key, how many nodes were told, and who was not, as an object")
@mesh_options
@pass_options
def rotate(options: Options, grace: str, as_json: bool) -> None:
    """Make a new mesh key and tell all nodes, which use it at once; no link and no message is lost.

    Nodes keep it where theirs came from, a key file or an identity; one that got its key as text
    warns in its log. In a mesh with an authority it runs on the machine that has that. It prints
    the new key. The exit code is 1 when a node was not told.
    """
    try:
        seconds = parse_duration(grace, MAX_GRACE_SECONDS)
        if seconds < LEAST_GRACE:
            raise ValueError(f"{grace!r}: give at least {LEAST_GRACE:g} s, for all to be told")
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--grace") from None
    with options.node() as node:
        credentials = credentials_of(node)
        if credentials is None:
            raise click.UsageError("there is no key to change: give the mesh's --key-file, or key")
        node.wait_for(timeout=options.timeout)
        if not node.peers():
            explain_nobody(node, options.timeout)
            raise click.ClickException("nobody is here to be told, and nothing was changed")
        order, authority = _order(credentials, node.mesh, round(seconds))

        def change() -> None:
            if not credentials.rotate(order):
                raise click.ClickException("the order came too late, and nothing was changed")
            if authority is not None:
                # Who is invited from now on must get the key that is told.
                authority.replace_key(order.key)

        left = tell(node, change, options.timeout)
        told = len(node.peers()) - len(left)
    if as_json:
        print_json({"key": order.key, "told": told, "left": [peer.id for peer in left]})
    else:
        click.echo(order.key)
        errors.note(
            f"{count_of(told, 'node')} told; the old key is good for another {spelled(order.grace)}"
        )
    if left:
        raise click.ClickException(
            f"{count_of(len(left), 'node')} not told: give them the new key by hand"
        )


def _order(
    credentials: Credentials, name: str, grace: int
) -> tuple[RotationOrder, Authority | None]:
    """Signed by whoever may, and who that was."""
    key = mesh.generate_key()
    if not credentials.authority:
        return credentials.order_rotation(key, grace), None
    folder = authority_folder(name)
    if not folder.exists():
        raise click.ClickException(
            f"the mesh {name} has an authority, and it is not here ({folder}): "
            "run this on its machine"
        )
    authority = Authority.open(folder)
    if authority.public != credentials.authority:
        raise click.ClickException(f"{folder} is of another authority than this identity")
    return authority.sign_rotation(key, grace, now=credentials.next_order_at()), authority
