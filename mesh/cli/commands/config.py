"""``meshctl config``: what is set on this machine, and whether it is right. It needs no mesh."""

from __future__ import annotations

import os

import click

from mesh.cli import errors
from mesh.cli.groups import OrderedGroup, require_command
from mesh.cli.options import Options, json_option, mesh_options, pass_options
from mesh.cli.output import print_json, print_table, print_text
from mesh.cli.text import count_of

__all__ = ["config"]

EPILOG = """\b
Examples:
  meshctl config check
  meshctl config check --profile lab --online
"""

CHECK_EPILOG = """\b
Examples:
  meshctl config check
  meshctl config check --profile lab --online
  meshctl config check --json | jq -r '.findings[] | "\\(.where): \\(.text)"'

Exit code 0 when it is right, 1 when there are problems; warnings alone are none.
"""


@click.group(
    cls=OrderedGroup,
    epilog=EPILOG,
    short_help="Check what is set on this machine.",
    invoke_without_command=True,
    no_args_is_help=False,
)
@click.pass_context
def config(context: click.Context) -> None:
    """Check the config file, the environment and the files that they name."""
    require_command(context)


@config.command(epilog=CHECK_EPILOG, short_help="Say what would be used, and what is wrong.")
@click.option("--online", is_flag=True, help="Look up the names among the seeds, too.")
@json_option("an object with the values and the findings")
@mesh_options
@pass_options
def check(options: Options, online: bool, as_json: bool) -> int:
    """Say what a command, or a node, would use here, and where each value comes from: an option,
    a variable, the profile, or the default. A key is shown by its fingerprint.

    Checked are the config file with all its profiles, each variable that begins with MESH_, the key
    file and its permissions, the identity, the policy, seeds and interfaces. Nothing is started.
    """
    from discovery.names import look_up
    from mesh.cli.configured import check as look
    from mesh.cli.configured import documents

    report = look(options, os.environ, look_up if online else None)
    if as_json:
        values = [
            {"name": one.name, "value": one.value, "origin": one.origin} for one in report.values
        ]
        print_json({"values": values, "findings": list(documents(report.findings))})
    else:
        rows = [(one.name, one.value, one.origin) for one in report.values]
        print_table(("setting", "value", "from"), rows, details=("from",))
        for one in report.findings:
            print_text(f"{one.level}: {one.where}: {one.text}")
        number = sum(one.level == "problem" for one in report.findings)
        print_text(f"{count_of(number, 'problem')} found" if number else "no problems found")
    return errors.OK if report.is_right else errors.FAILED
