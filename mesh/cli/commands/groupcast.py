"""``meshctl groupcast``: give one message to one member of a group, and wait until it is done.

It ends with 0 only when the member has acknowledged: a message that nobody has acknowledged dies
with its sender, and this sender is about to end.
"""

from __future__ import annotations

import logging
from time import monotonic

import click

import mesh
from mesh.cli.bodies import Bodies, body_options, file_option
from mesh.cli.completion import complete_groups
from mesh.cli.headers import header_option
from mesh.cli.options import Options, json_option, mesh_options_beside_key, pass_options
from mesh.cli.output import print_json
from mesh.cli.tracing.option import begin, trace_option
from mesh.cli.value_command import ValueCommand

__all__ = ["groupcast"]

EPILOG = """\b
Examples:
  meshctl groupcast workers '{"render": 7}'
  meshctl groupcast workers @job.json
  meshctl groupcast workers '{"charge": 3}' --key user:7
  meshctl groupcast workers nightly --timeout 60     its handler takes a while
"""


@click.command(cls=ValueCommand, epilog=EPILOG, short_help="Send to one member of a group.")
@click.argument("group", shell_complete=complete_groups)
@click.argument("data", required=False)
@file_option
@click.option(
    "--key",
    metavar="KEY",
    help="To the member that owns KEY, which is text. (The mesh's key goes before 'groupcast'.)",
)
@body_options
@header_option
@trace_option
@json_option("which member got it, and whether it was acknowledged, as JSON")
@mesh_options_beside_key
@pass_options
def groupcast(
    options: Options,
    group: str,
    data: str | None,
    path: str | None,
    key: str | None,
    form: str | None,
    headers: dict[str, str],
    trace: bool,
    as_json: bool,
) -> None:
    """Send DATA to exactly one member of GROUP, print which, and wait until it has handled it.

    DATA is JSON if it parses as JSON, else text; - reads it from stdin, @PATH from a file, and @@
    stands for a literal @. Without DATA null is sent.

    The exit code is 1 when nobody is in the group, and when it is not acknowledged within the
    timeout: it may be handled all the same. If the member dies meanwhile another one gets it.
    """
    value = Bodies(form).data(data, path)
    # What the library would warn of, a refusal or a loss, is the one line of our own error.
    logging.getLogger("mesh.groupcast").setLevel(logging.ERROR)
    with options.node() as node:
        node.wait_for(timeout=options.timeout)
        began = monotonic()
        peer = _send(node, group, value, key, begin(trace, headers), options.timeout)
        if not as_json:
            click.echo(f"sent to {peer}")
        problem = _problem(node, options.timeout)
        if as_json:
            print_json(
                {
                    "group": group,
                    "key": key,
                    "peer": {"id": peer.id, "name": peer.name},
                    "acknowledged": problem is None,
                }
            )
        if problem is not None:
            logging.getLogger("mesh").setLevel(logging.ERROR)
            raise click.ClickException(problem)
        if not as_json:
            click.echo(f"acknowledged after {monotonic() - began:.2f} s")


def _send(
    node: mesh.Node,
    group: str,
    value: object,
    key: str | None,
    headers: dict[str, str] | None,
    timeout: float,
) -> mesh.Peer:
    try:
        return node.groupcast(group, value, key=key, headers=headers, timeout=timeout)
    except mesh.NoProvider as error:
        raise click.ClickException(f"{error}; 'meshctl peers' shows who is in which") from None


def _problem(node: mesh.Node, timeout: float) -> str | None:
    """Why it was not acknowledged, None when it was."""
    try:
        node.flush(timeout)
    except mesh.Timeout:
        return (
            f"not acknowledged within {timeout:g} s: it may be handled yet; --timeout gives longer"
        )
    if node.counters().get("casts_given_up"):
        return "it was refused by every member that was asked, and given up"
    return None
