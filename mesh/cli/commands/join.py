"""``meshctl join``: the other end of ``meshctl invite``."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

import mesh
from discovery import parse_address
from mesh.cli import errors
from mesh.cli.certificates import as_document, day
from mesh.cli.options import Options, json_option, mesh_options, pass_options, variable
from mesh.cli.output import print_json
from mesh.cli.places import identity_path
from mesh.security.identity_file import IdentityFile
from mesh.security.secret_files import make_folder

if TYPE_CHECKING:
    from mesh.invites import Code

__all__ = ["join"]

MOST_CODE_CHARS = 512
"""Of a line on stdin: a code and an address have 50 to 300."""

EPILOG = """\b
Examples:
  meshctl join 7Q3D-0XKM-V94T
  meshctl join 7Q3D-0XKM-V94T@10.0.0.7:4711
  meshctl join 7Q3D-0XKM-V94T --at 10.0.0.7:4711 --identity /etc/mesh/lab.identity
"""


@click.command(epilog=EPILOG, short_help="Join a mesh by the code of an invite.")
@click.argument("code")
@click.option(
    "--at", metavar="HOST:PORT", help="Where 'meshctl invite' listens, without multicast."
)
@json_option("the identity, as an object")
@mesh_options
@pass_options
def join(options: Options, code: str, at: str | None, as_json: bool) -> None:
    """Join a mesh by the CODE that 'meshctl invite' has printed on another machine.

    It makes a key pair, gets a certificate for it and the mesh's key, and saves them: at
    --identity, else in ~/.config/mesh. A CODE of - is read from stdin: other users of this machine
    can see an argument in 'ps'.
    """
    from mesh.invites import Code as Parsed

    if code == "-":
        code = sys.stdin.readline(MOST_CODE_CHARS)
    text, _, appended = code.strip().partition("@")
    at = at or appended or None
    if at is not None:
        try:
            parse_address(at)
        except ValueError as error:
            raise click.UsageError(f"--at: {error}") from None
    wanted = options.identity_path or variable("MESH_IDENTITY")
    path = Path(wanted).expanduser() if wanted else None
    if path is not None and path.exists():
        IdentityFile.load(path)  # anything else is not to be replaced
    make_folder((path or identity_path("any")).parent)
    identity = asyncio.run(_join(options, Parsed.parse(text), at, path))
    _tell(identity, as_json)


async def _join(options: Options, code: Code, at: str | None, path: Path | None) -> IdentityFile:
    from mesh.invites import join

    saved: list[IdentityFile] = []

    def keep(identity: IdentityFile) -> None:
        saved.append(identity.save(path or _free_path(identity)))

    interfaces = options.resolved_interfaces
    await join(code, keep, at=at, timeout=options.timeout, interfaces=interfaces)
    return saved[0]


def _free_path(identity: IdentityFile) -> Path:
    """The usual place; beside it when this machine has another identity in the mesh already."""
    usual = identity_path(identity.mesh)
    name = identity.certificate.name
    try:
        is_same = not usual.exists() or IdentityFile.load(usual).certificate.name == name
    except mesh.ConfigError:
        is_same = False
    return usual if is_same else identity_path(f"{identity.mesh}-{name}")


def _tell(identity: IdentityFile, as_json: bool) -> None:
    certificate = identity.certificate
    if as_json:
        document = as_document(certificate, identity.revocations)
        print_json({**document, "identity": str(identity.path)})
        return
    roles = f" with the roles {', '.join(certificate.roles)}" if certificate.roles else ""
    click.echo(
        f"joined the mesh {identity.mesh} as {certificate.name}{roles}, "
        f"until {day(certificate.not_after)}"
    )
    click.echo(f"the identity is in {identity.path}; to use it:")
    click.echo(f"  export MESH_IDENTITY={identity.path}")
    click.echo(f'  mesh.Node("{certificate.name}", identity="{identity.path}")')
    try:
        identity.check()
    except mesh.ConfigError as error:
        errors.note(errors.plain(error))
