"""``meshctl discovery``: how nodes are searched for, what was found, and what became of it."""

from __future__ import annotations

import click

import mesh
from mesh.cli import errors
from mesh.cli.options import Options, json_option, mesh_options, pass_options
from mesh.cli.output import print_json, print_table

__all__ = ["discovery"]

EPILOG = """\b
Examples:
  meshctl discovery
  meshctl discovery --interface eth0
  meshctl discovery --seed 10.0.0.7:5555 --json

A source that fails says why. What was found and is not linked is of another mesh or key, refused
us, or did not answer: OUTCOME says which.
"""


@click.command(epilog=EPILOG, short_help="Show what was searched and found, and why.")
@json_option("an object of sources, each with its state and what it found")
@mesh_options
@pass_options
def discovery(options: Options, as_json: bool) -> None:
    """Show how each discovery source is doing, and what it has found."""
    with options.node() as node:
        node.wait_for(timeout=options.timeout)
        reports = node.discovery()
    if as_json:
        print_json({name: _as_json(report) for name, report in reports.items()})
        return
    rows = [
        (name, report.status, str(len(report.found)), report.reason)
        for name, report in reports.items()
    ]
    print_table(("source", "status", "found", "reason"), rows, details=("reason",))
    found = [
        (name, ", ".join(one.addresses), one.mesh, one.id[:8], one.outcome)
        for name, report in reports.items()
        for one in report.found
    ]
    if found:
        click.echo()
        columns = ("found by", "addresses", "mesh", "id", "outcome")
        print_table(columns, sorted(found), details=("addresses", "outcome"))
    elif all(report.status == "working" for report in reports.values()):
        errors.note("nobody was heard; where multicast does not reach, name one: --seed HOST:PORT")


def _as_json(report: mesh.SourceReport) -> dict[str, object]:
    return {
        "status": report.status,
        "reason": report.reason,
        "found": [
            {
                "addresses": list(one.addresses),
                "id": one.id or None,
                "mesh": one.mesh or None,
                "outcome": one.outcome,
                "cause": one.cause,
            }
            for one in report.found
        ],
    }
