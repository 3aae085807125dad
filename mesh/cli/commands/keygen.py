"""``meshctl keygen``: a new key for a mesh."""

from __future__ import annotations

import os

import click

import mesh
from mesh.cli.options import json_option
from mesh.cli.output import print_json

__all__ = ["keygen"]

OWNER_ONLY = 0o600
"""Who has the key is in the mesh."""

EPILOG = """\b
Examples:
  meshctl keygen --output mesh.key
  meshctl --key-file mesh.key peers
  export MESH_KEY=$(meshctl keygen)

Give the same key to every node; a node without it is refused before a byte of it is read.
"""


@click.command(epilog=EPILOG, short_help="Make a key for a mesh.")
@click.option(
    "--output",
    metavar="FILE",
    type=click.Path(),
    help="Write a new file that only you can read; never overwrites.",
)
@json_option("the key, or the name of the file, as JSON")
def keygen(output: str | None, as_json: bool) -> None:
    """Make a key of full strength and print it."""
    key = mesh.generate_key()
    if output is not None:
        _write(output, key)
    if as_json:
        print_json({"file": output} if output is not None else {"key": key})
    else:
        click.echo(f"wrote the key to {output}" if output is not None else key)


def _write(path: str, key: str) -> None:
    """Raises ClickException when the file exists already, OSError when it cannot be made."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, OWNER_ONLY)
    except FileExistsError:
        raise click.ClickException(
            f"{path} exists already and may be in use: choose another name, or remove it first"
        ) from None
    with open(descriptor, "w", encoding="ascii") as file:
        # The mode given to open() is cut by the umask; this one is not.
        os.fchmod(descriptor, OWNER_ONLY)
        file.write(f"{key}\n")
