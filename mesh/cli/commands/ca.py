"""``meshctl ca``: the mesh's authority, on the one machine that has it."""

from __future__ import annotations

import re
import socket
from pathlib import Path

import click

from mesh.cli import errors
from mesh.cli.certificates import COLUMNS, as_document, as_row
from mesh.cli.groups import OrderedGroup, require_command
from mesh.cli.options import Options, json_option, mesh_options, pass_options
from mesh.cli.output import print_json, print_table
from mesh.cli.places import authority_folder, identity_path
from mesh.security.authority import Authority, fingerprint_of
from mesh.security.boxes import new_secret, public_of
from mesh.security.identity_file import IdentityFile
from mesh.security.secret_files import make_folder
from patterns.names import MAX_NAME_CHARS, check_name

__all__ = ["ca"]

EPILOG = """\b
Examples:
  meshctl ca init --mesh lab
  meshctl ca list --mesh lab
"""

INIT_EPILOG = """\b
Examples:
  meshctl ca init
  meshctl ca init --mesh lab --name desk --role operator
  meshctl ca init --mesh lab --key-file lab.key    a mesh that has a key already

Back up the folder that it names, offline: without the signing key in it nobody can be invited
or revoked any more, and whoever copies it can do both.
"""

LIST_EPILOG = """\b
Examples:
  meshctl ca list
  meshctl ca list --json | jq -r '.[] | select(.state == "valid").name'
"""

OTHERWISE_NAMED = "operator"
"""For a machine whose own name has nothing that a name may have."""


@click.group(
    cls=OrderedGroup,
    epilog=EPILOG,
    invoke_without_command=True,
    no_args_is_help=False,
    short_help="Make and look after the mesh's authority.",
)
@mesh_options
@click.pass_context
def ca(context: click.Context) -> None:
    """Make and look after the mesh's authority.

    With an authority each machine has an identity of its own, which can be revoked: see invite,
    join and revoke. It is one folder on one machine; the mesh runs without it.
    """
    require_command(context)


@ca.command(epilog=INIT_EPILOG, short_help="Make an authority for a mesh.")
@click.option("--name", metavar="NAME", help="Of this machine's identity. Default: its hostname.")
@click.option(
    "--role", "roles", metavar="ROLE", multiple=True, help="For this machine; may be repeated."
)
@json_option("where things are, as an object")
@mesh_options
@pass_options
def init(options: Options, name: str | None, roles: tuple[str, ...], as_json: bool) -> None:
    """Make an authority for a mesh, and an identity for this machine.

    The mesh's key is the given one, else a new one of full strength.
    """
    name = _own_name() if name is None else check_name("node", name)
    for role in roles:
        check_name("role", role)
    mesh_name = check_name("mesh", options.named_mesh)
    folder = authority_folder(mesh_name)
    path = Path(options.identity_path or identity_path(mesh_name)).expanduser()
    if path.exists():
        raise click.ClickException(
            f"{path} exists already: this machine has an identity in that mesh; move it away, or "
            "say where the new one goes: --identity PATH"
        )
    make_folder(path.parent)
    authority = Authority.create(folder, mesh_name, key=options.resolved_key)
    secret = new_secret()
    certificate = authority.issue(name, public_of(secret), roles)
    own = IdentityFile(mesh_name, authority.key, secret, certificate, authority.public)
    own.save(path)
    if as_json:
        print_json(
            {
                "mesh": mesh_name,
                "folder": str(folder),
                "authority": fingerprint_of(authority.public),
                "name": name,
                "identity": str(path),
            }
        )
        return
    click.echo(f"authority of the mesh {mesh_name}: {folder}")
    click.echo(f"its fingerprint: {fingerprint_of(authority.public)}")
    click.echo(f"identity of this machine, {name}: {path}")
    errors.note(f"back up {folder}, offline: who has it can let anybody in")
    errors.note(f"use the identity: export MESH_IDENTITY={path}")
    errors.note(f"let another machine in: meshctl --mesh {mesh_name} invite NAME")


@ca.command("list", epilog=LIST_EPILOG, short_help="List the certificates that were issued.")
@json_option("an array of certificates")
@mesh_options
@pass_options
def list_issued(options: Options, as_json: bool) -> None:
    """List the certificates that were issued, and whether they are valid, expired or revoked."""
    authority = Authority.open(authority_folder(options.resolved_mesh))
    revocations = authority.revocations()
    issued = sorted(authority.issued(), key=lambda one: (one.name, one.not_before))
    if as_json:
        print_json([as_document(one, revocations) for one in issued])
    else:
        rows = [as_row(one, revocations) for one in issued]
        print_table(COLUMNS, rows, details=("roles", "serial"))


def _own_name() -> str:
    host = socket.gethostname().partition(".")[0]
    return re.sub(r"[^A-Za-z0-9_-]+", "-", host).strip("-")[:MAX_NAME_CHARS] or OTHERWISE_NAMED
