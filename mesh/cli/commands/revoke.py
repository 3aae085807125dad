"""``meshctl revoke``: let a machine in no more."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

import mesh
from mesh.cli import errors
from mesh.cli.completion import complete_issued
from mesh.cli.options import Options, json_option, mesh_options, pass_options, variable
from mesh.cli.output import print_json
from mesh.cli.places import authority_folder, identity_path
from mesh.cli.telling import credentials_of, tell
from mesh.cli.text import count_of
from mesh.security.authority import Authority
from mesh.security.certificates import Revocations
from mesh.security.identity_file import IdentityFile

__all__ = ["revoke"]

EPILOG = """\b
Examples:
  meshctl revoke laptop
  meshctl revoke laptop --mesh lab --json
"""


@click.command(epilog=EPILOG, short_help="Revoke all certificates of a name.")
@click.argument("name", shell_complete=complete_issued)
@json_option("the new list of revocations, as an object")
@mesh_options
@pass_options
def revoke(options: Options, name: str, as_json: bool) -> None:
    """Revoke all certificates of NAME, and tell all nodes: it is cut off at once.

    It runs on the machine with the authority, and needs an identity there to tell the others. Who
    is not on the network now is told by whom it meets. The exit code is 1 when a node that is here
    was not told.
    """
    authority = Authority.open(authority_folder(options.resolved_mesh))
    revocations, own = _revoke_here(options, authority, name)
    told, left = _tell_mesh(options, own, revocations)
    if as_json:
        print_json(
            {
                "name": name,
                "version": revocations.version,
                "serials": sorted(serial.hex() for serial in revocations.serials),
                "told": told,
                "left": [peer.id for peer in left],
            }
        )
    else:
        count = count_of(len(revocations.serials), "certificate")
        click.echo(f"revoked {name}; version {revocations.version} of the list has {count}")
        errors.note(f"{count_of(told, 'node')} told")
    if left:
        raise click.ClickException(f"{count_of(len(left), 'node')} not told: run it again")


def _tell_mesh(
    options: Options, own: IdentityFile | None, revocations: Revocations
) -> tuple[int, Sequence[mesh.Peer]]:
    """How many nodes know it now, and who of those that are here does not."""
    if own is None or own.is_revoked or own.path is None:
        errors.note("without an identity here nobody was told: nodes hear of it from who was")
        return 0, ()
    options.identity_path = str(own.path)
    with options.node() as node:
        node.wait_for(timeout=options.timeout)
        credentials = credentials_of(node)
        if credentials is None:
            return 0, ()
        left = tell(node, lambda: credentials.revoke(revocations), options.timeout)
        return len(node.peers()) - len(left), left


def _revoke_here(
    options: Options, authority: Authority, name: str
) -> tuple[Revocations, IdentityFile | None]:
    """Sign the new list, and keep it in the authority's folder and this machine's identity."""
    revocations = authority.revoke(name)
    wanted = options.identity_path or variable("MESH_IDENTITY")
    path = Path(wanted).expanduser() if wanted else identity_path(authority.mesh)
    if not path.exists():
        return revocations, None
    own = IdentityFile.load(path)
    if own.authority != authority.public:
        errors.note(f"{path} is of another authority, and was left as it is")
        return revocations, None
    own = own.update(lambda now: now.with_revocations(revocations))
    if own.is_revoked:
        errors.note(f"{path}, this machine's own identity, is revoked now")
    return revocations, own
