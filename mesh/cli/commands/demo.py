"""``meshctl demo``: what the mesh does, shown and checked on this machine."""

from __future__ import annotations

import click

from mesh.cli.options import json_option

__all__ = ["demo"]

EPILOG = """\b
Examples:
  meshctl demo
  meshctl demo --json | jq '.checks[] | select(.ok | not)'
"""


@click.command(epilog=EPILOG, short_help="See it all work on this machine.")
@json_option("the checks as JSON when all is over")
@click.pass_context
def demo(context: click.Context, as_json: bool) -> None:
    """Start some nodes on this machine and show what they can do.

    It takes a few seconds, needs no network, meets no other nodes, and stops what it started.
    Every claim is checked as it is made; the exit code is 1 if one did not hold.
    """
    from mesh.cli.demo import run_demo

    if not run_demo(as_json=as_json):
        context.exit(1)
