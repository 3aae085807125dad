"""``meshctl doctor``: why does A not see B?"""

from __future__ import annotations

import click

from mesh.cli import errors
from mesh.cli.completion import complete_peers
from mesh.cli.doctor.diagnose import diagnose
from mesh.cli.doctor.facts import Facts, Focus
from mesh.cli.doctor.gather import gather
from mesh.cli.doctor.render import Progress, as_document, is_well, print_findings
from mesh.cli.loops import run_until_signal
from mesh.cli.options import Options, json_option, mesh_options, pass_options
from mesh.cli.output import print_json

__all__ = ["doctor"]

EPILOG = """\b
Examples:
  meshctl doctor                      this machine, and the mesh as seen from it
  meshctl doctor calc                 why do I not see calc?
  meshctl doctor 10.0.0.7:7946        why do I not see the node there?
  meshctl doctor --json | jq -r '.findings[] | select(.gravity == "problem") | .code'

Run it on the machine from which the other is not seen, as the same user and with the same options
and environment as the program there. docs/doctor.md tells of each finding.
"""


@click.command(epilog=EPILOG, short_help="Find out why nodes do not see each other.")
@click.argument("node", required=False, metavar="[NODE]", shell_complete=complete_peers)
@json_option("one document with the findings, whose codes never change")
@mesh_options
@pass_options
def doctor(options: Options, node: str | None, as_json: bool) -> int:
    """Look at this machine's network and at the mesh, and tell what keeps nodes apart.

    NODE is a name, an instance, at least four digits of an id, or an address (HOST:PORT, or HOST):
    then only what concerns that one is told.

    A line for each finding, the gravest first: what, why, and what to do. The exit code is 1 if
    one is a problem. Takes no longer than --timeout and a second to close. It needs no rights;
    what cannot be looked at is told.
    """
    focus = Focus.of(node) if node is not None else None
    progress = Progress()
    gathered: list[Facts] = []

    async def work() -> None:
        gathered.append(await gather(options, focus, progress.tell))

    try:
        code = run_until_signal(work())
    finally:
        progress.end()
    if not gathered:
        return code
    (facts,) = gathered
    found = diagnose(facts)
    if as_json:
        print_json(as_document(facts, found))
    else:
        print_findings(facts, found)
    return errors.OK if is_well(found) else errors.FAILED
