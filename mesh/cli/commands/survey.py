"""``meshctl survey``: ask every node that serves a method, and say who has not answered."""

from __future__ import annotations

import click

import mesh
from mesh.cli import errors
from mesh.cli.bodies import Bodies, body_options
from mesh.cli.completion import complete_groups, complete_methods
from mesh.cli.headers import header_option
from mesh.cli.options import Options, json_option, mesh_options, pass_options
from mesh.cli.output import print_json, print_text
from mesh.cli.text import count_of, milliseconds
from mesh.cli.value_command import ValueCommand
from mesh.cli.values import split_words, to_json
from mesh.surveying import BlockingSurvey
from patterns.survey import Reply, Until

__all__ = ["survey"]

EPILOG = """\b
Examples:
  meshctl survey calc.health                   all nodes that serve it
  meshctl survey '*.health'                    whoever serves a method of that name
  meshctl survey calc.version --group canary   the members of a group
  meshctl survey calc.health --until quorum:0.9 --timeout 0.5
  meshctl survey calc.find name=Ada --until first:1 --json
"""


def _parse_until(context: click.Context, parameter: click.Parameter, value: str) -> Until:
    """ "all", "first:N", "quorum:SHARE"."""
    word, _, number = value.partition(":")
    try:
        if word == "first":
            return mesh.first(int(number))
        if word == "quorum":
            return mesh.quorum(float(number))
    except (ValueError, mesh.ConfigError):
        pass  # told below
    if value != "all":
        text = f"{value!r}: give all, first:3 or quorum:0.9"
        raise click.BadParameter(text, context, parameter)
    return Until()


@click.command(cls=ValueCommand, epilog=EPILOG, short_help="Ask all nodes that serve a method.")
@click.argument("method", shell_complete=complete_methods)
@click.argument("args", nargs=-1)
@click.option(
    "--until",
    metavar="ENOUGH",
    callback=_parse_until,
    default="all",
    help="When to end: all, first:N replies, or quorum:SHARE of who is asked. Default: all.",
)
@click.option(
    "--group",
    metavar="GROUP",
    shell_complete=complete_groups,
    help="Ask its members and nobody else.",
)
@body_options
@header_option
@json_option("one JSON object per node and line as it is known, then one with the sums")
@mesh_options
@pass_options
def survey(
    options: Options,
    method: str,
    args: tuple[str, ...],
    until: Until,
    group: str | None,
    form: str | None,
    headers: dict[str, str],
    as_json: bool,
) -> None:
    """Ask every node that serves METHOD, such as calc.health, and print each answer as it comes.

    Then come the nodes that failed, and those that have not answered within the timeout. Arguments
    are those of 'meshctl call'. The exit code is 1 if fewer have answered than --until wants.
    """
    positional, named = split_words(args, Bodies(form).value)
    with options.node() as node:
        node.wait_for(timeout=options.timeout)
        asking = node.survey(
            method,
            *positional,
            timeout=options.timeout,
            until=until,
            group=group,
            headers=headers or None,
            kwargs=named,
        )
        with asking:
            for reply in asking:
                _tell(reply, as_json)
        _tell_others(asking, as_json)
        if as_json:
            print_json(_sums(asking, until), is_line=True)
        if not asking.is_complete:
            raise click.ClickException(f"{_counts(asking)}; --until {_spelled(until)} is not met")
        if not as_json:
            print_text(_counts(asking))


def _tell(reply: Reply, as_json: bool) -> None:
    if as_json:
        document = {"type": "reply", "peer": _who(reply.peer)}
        print_json(document | {"seconds": reply.latency, "value": reply.value}, is_line=True)
    else:
        value = reply.value if isinstance(reply.value, str) else to_json(reply.value)
        print_text(f"{reply.peer}  {milliseconds(reply.latency)}  {value}")


def _tell_others(asking: BlockingSurvey, as_json: bool) -> None:
    for peer, error in asking.failed.items():
        text = errors.plain(error)
        if as_json:
            document = {"type": "failed", "peer": _who(peer)}
            kind = type(error).__name__
            print_json(document | {"error": kind, "message": text}, is_line=True)
        else:
            print_text(f"{peer}  failed  {text}")
    for peer in asking.missing:
        if as_json:
            document = {"type": "missing", "peer": _who(peer)}
            print_json(document | {"state": peer.state}, is_line=True)
        else:
            doubt = f" ({peer.state})" if peer.state != "alive" else ""
            print_text(f"{peer}  {_silent(asking)}{doubt}")


def _who(peer: mesh.Peer) -> dict[str, str]:
    return {"id": peer.id, "name": peer.name}


def _silent(asking: BlockingSurvey) -> str:
    """What those are that have not answered: when there was enough nobody waited for them."""
    return "not waited for" if asking.is_complete else "missing"


def _counts(asking: BlockingSurvey) -> str:
    text = f"{len(asking.replies)} of {count_of(len(asking.asked), 'node')} answered"
    silent = (len(asking.missing), _silent(asking))
    for number, what in ((len(asking.failed), "failed"), silent):
        text += f", {number} {what}" if number else ""
    return text


def _spelled(until: Until) -> str:
    return str(until).replace("(", ":").replace(")", "")


def _sums(asking: BlockingSurvey, until: Until) -> dict[str, object]:
    return {
        "type": "summary",
        "method": asking.method,
        "asked": len(asking.asked),
        "replied": len(asking.replies),
        "failed": len(asking.failed),
        "missing": len(asking.missing),
        "until": _spelled(until),
        "complete": asking.is_complete,
    }
