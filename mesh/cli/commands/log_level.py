"""``meshctl log-level``: what a running node logs, for a while."""

from __future__ import annotations

from typing import Any

import click

from mesh.cli import errors
from mesh.cli.asking import Answer, ask_now
from mesh.cli.completion import complete_peers
from mesh.cli.durations import parse_duration
from mesh.cli.options import Options, json_option, mesh_options, pass_options
from mesh.cli.output import print_json, print_table
from mesh.cli.peer_names import matching
from mesh.cli.reading import items_of, text_of, texts_of, value_of
from mesh.inspection.log_levels import LEVELS, MAX_SECONDS

__all__ = ["log_level"]

COLUMNS = ("node", "logger", "level", "in effect", "until", "shown by")

EPILOG = """\b
Examples:
  meshctl log-level calc                           what is set now
  meshctl log-level calc debug                     all nodes of that name, for 10 minutes
  meshctl log-level 6bff0b0b debug --logger mesh.rpc --for 1h
  meshctl log-level calc reset                     as it was, at once
"""


def _duration(context: click.Context, parameter: click.Parameter, value: str) -> float:
    try:
        return parse_duration(value, MAX_SECONDS)
    except ValueError as error:
        raise click.BadParameter(str(error), context, parameter) from None


def _word(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    if value is not None and value.upper() not in (*LEVELS, "RESET"):
        text = f"{value!r}: give {', '.join(LEVELS).lower()} or reset"
        raise click.BadParameter(text, context, parameter)
    return value


@click.command("log-level", epilog=EPILOG, short_help="Show or set what a node logs, for a while.")
@click.argument("wanted", metavar="NODE", shell_complete=complete_peers)
@click.argument("level", metavar="LEVEL", required=False, callback=_word)
@click.option(
    "--logger",
    metavar="NAME",
    default="mesh",
    help="One of the mesh's loggers: mesh (the default), mesh.rpc and others.",
)
@click.option(
    "--for",
    "duration",
    metavar="TIME",
    default="10m",
    callback=_duration,
    help="Then it falls back by itself. Default: 10m.",
)
@json_option("an array with an object for each node")
@mesh_options
@pass_options
def log_level(
    options: Options, wanted: str, level: str | None, logger: str, duration: float, as_json: bool
) -> int:
    """Set the level of the mesh's loggers in all nodes of that name, or of one id, or show them.

    LEVEL is debug, info, warning, error or critical, or reset. It falls back after --for, and when
    the node closes. A logger belongs to a process: all nodes in it log so. It says when nothing
    would be shown, as the program has no handler that takes it.
    """
    with options.node() as node:
        node.wait_for(timeout=options.timeout)
        peers = [p for p in node.peers(all=True) if p.state not in ("failed", "left")]
        found = sorted(matching(peers, wanted), key=lambda peer: peer.id)
        if not found:
            raise click.ClickException(f"{wanted!r} is no node; 'meshctl peers' lists them")
        arguments = (level, logger, duration)
        answers = ask_now(node, found, "log_level", *arguments, timeout=options.timeout)
    if as_json:
        print_json([_document(answer) for answer in answers])
    else:
        rows = [row for answer in answers for row in _rows(answer, logger, level is None)]
        if rows:
            print_table(COLUMNS, rows)
    for answer in answers:
        _tell(answer)
    return errors.FAILED if any(answer.trouble for answer in answers) else errors.OK


def _document(answer: Answer) -> dict[str, Any]:
    value = answer.value if isinstance(answer.value, dict) else {}
    node = {"id": answer.peer.id, "name": answer.peer.name}
    return {**node, **value, "trouble": answer.trouble or None}


def _rows(answer: Answer, logger: str, shows_all: bool) -> list[tuple[str, ...]]:
    """The logger that is meant; when none is to be set, also those with a level of their own."""
    rows: list[tuple[str, ...]] = []
    for one in items_of(answer.value, "loggers"):
        name = text_of(one, "name")
        if name == logger or (shows_all and (one.get("level") or one.get("until"))):
            until = value_of(one, "until")
            shown = ", ".join(texts_of(answer.value, "shown_by")) if name == logger else ""
            rows.append(
                (
                    str(answer.peer),
                    name,
                    text_of(one, "level").lower() or "(not set)",
                    text_of(one, "effect").lower(),
                    f"{until.astimezone():%H:%M:%S}" if hasattr(until, "astimezone") else "",
                    shown,
                )
            )
    return rows


def _tell(answer: Answer) -> None:
    if answer.error is not None:
        errors.note(f"{answer.peer}: {answer.trouble}: {errors.plain(answer.error)}")
    elif not texts_of(answer.value, "shown_by"):
        effect = text_of(answer.value, "effect")
        errors.note(
            f"{answer.peer}: its program has no handler that takes {effect}: nothing of it is "
            f"shown; logging.basicConfig(level=logging.{effect}) in the program would"
        )
