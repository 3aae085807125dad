"""``meshctl identity``: what an identity file says."""

from __future__ import annotations

from pathlib import Path

import click

from mesh.cli import errors
from mesh.cli.certificates import COLUMNS, as_document, as_row
from mesh.cli.options import Options, json_option, mesh_options, pass_options, variable
from mesh.cli.output import print_json, print_table
from mesh.cli.places import identity_path
from mesh.security.authority import fingerprint_of
from mesh.security.identity_file import IdentityFile

__all__ = ["identity"]

EPILOG = """\b
Examples:
  meshctl identity
  meshctl identity /etc/mesh/lab.identity --json
"""


@click.command(epilog=EPILOG, short_help="Show what an identity file says.")
@click.argument("path", required=False, type=click.Path())
@json_option("the identity, as an object")
@mesh_options
@pass_options
def identity(options: Options, path: str | None, as_json: bool) -> None:
    """Show whose identity a file has, its roles, and until when it is valid.

    Without PATH it is this machine's. AUTHORITY is the fingerprint of the key that signed it: the
    same in all files of a mesh.
    """
    wanted = path or options.identity_path or variable("MESH_IDENTITY")
    file = Path(wanted) if wanted else identity_path(options.resolved_mesh)
    found = IdentityFile.load(file)
    authority = fingerprint_of(found.authority)
    if as_json:
        document = as_document(found.certificate, found.revocations)
        print_json({**document, "authority": authority, "identity": str(found.path)})
        return
    row = (*as_row(found.certificate, found.revocations), found.mesh, authority)
    print_table((*COLUMNS, "mesh", "authority"), [row], details=("roles", "serial", "authority"))
    if found.is_revoked:
        errors.note("it is revoked: nobody who knows lets this machine in")
