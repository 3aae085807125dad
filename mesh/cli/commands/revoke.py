"""``meshctl revoke``: let a machine in no more."""

from __future__ import annotations

from pathlib import Path

import click

from mesh.cli import errors
from mesh.cli.completion import complete_issued
from mesh.cli.options import Options, json_option, mesh_options, pass_options, variable
from mesh.cli.output import print_json
from mesh.cli.places import authority_folder, identity_path
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
    """Revoke all certificates of NAME: nobody lets it in any more who has the new list.

    It runs on the machine with the authority.
    """
    authority = Authority.open(authority_folder(options.resolved_mesh))
    revocations = _revoke_here(options, authority, name)
    if as_json:
        print_json(
            {
                "name": name,
                "version": revocations.version,
                "serials": sorted(serial.hex() for serial in revocations.serials),
            }
        )
    else:
        count = count_of(len(revocations.serials), "certificate")
        click.echo(f"revoked {name}; version {revocations.version} of the list has {count}")


def _revoke_here(options: Options, authority: Authority, name: str) -> Revocations:
    """Sign the new list, and keep it in the authority's folder and this machine's identity."""
    revocations = authority.revoke(name)
    wanted = options.identity_path or variable("MESH_IDENTITY")
    path = Path(wanted).expanduser() if wanted else identity_path(authority.mesh)
    if not path.exists():
        return revocations
    own = IdentityFile.load(path)
    if own.authority != authority.public:
        errors.note(f"{path} is of another authority, and was left as it is")
        return revocations
    own = own.update(lambda now: now.with_revocations(revocations))
    if own.is_revoked:
        errors.note(f"{path}, this machine's own identity, is revoked now")
    return revocations
