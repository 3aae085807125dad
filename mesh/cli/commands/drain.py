"""``meshctl drain``: take nodes out of work, one after the other, and see that nothing is lost."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import monotonic, sleep

import click

import mesh
from mesh.cli import errors
from mesh.cli.asking import Answer, ask_now
from mesh.cli.completion import complete_peers
from mesh.cli.durations import parse_duration
from mesh.cli.options import Options, json_option, mesh_options, pass_options
from mesh.cli.output import print_json, print_text
from mesh.cli.peer_names import matching
from mesh.cli.reading import texts_of, value_of
from mesh.cli.text import count_of, printable
from mesh.inspection.operating import MAX_DRAIN_SECONDS

__all__ = ["drain", "last_of"]

LOOK_EVERY = 0.5
"""Seconds between questions how far it is."""

ENDS_WITHIN = 5.0
"""Seconds for a node to say goodbye once it is drained; it takes one at most."""

EPILOG = """\b
Examples:
  meshctl drain 6bff0b0b                   one node; it stays, and takes no work
  meshctl drain calc --all --stop          a rolling restart, if a supervisor starts them
  meshctl drain calc --wait 5m --force
"""


@dataclass(slots=True)
class _Outcome:
    peer: mesh.Peer
    drained: bool = False
    ended: bool = False
    seconds: float = 0.0
    left: list[str] = field(default_factory=list)


def _duration(context: click.Context, parameter: click.Parameter, value: str) -> float:
    try:
        return parse_duration(value, MAX_DRAIN_SECONDS)
    except ValueError as error:
        raise click.BadParameter(str(error), context, parameter) from None


@click.command(epilog=EPILOG, short_help="Take nodes out of work, without losing any.")
@click.argument("wanted", metavar="NODE", shell_complete=complete_peers)
@click.option(
    "--wait",
    "wait",
    metavar="TIME",
    default="30s",
    callback=_duration,
    help="For what runs at each of them. Default: 30s.",
)
@click.option("--stop", is_flag=True, help="End each one then, as SIGTERM would.")
@click.option("--all", "drain_all", is_flag=True, help="All nodes of that name, one by one.")
@click.option("--force", is_flag=True, help="Even the last node that serves something.")
@json_option("a JSON object per node and line")
@mesh_options
@pass_options
def drain(
    options: Options,
    wanted: str,
    wait: float,
    stop: bool,
    drain_all: bool,
    force: bool,
    as_json: bool,
) -> int:
    """Have a node take no new work, end what runs and hand the rest to others, and follow it until
    nothing runs there. It stays in the mesh, and takes no work any more, until its program ends.

    With --stop it ends then: the node must be in run(). What still runs after --wait is told, and
    the exit code is 1; with --stop it ends even so. Where several have that name --all takes them
    one by one, and stops at the first that fails. The last node that serves something is refused
    without --force; with --all it is waited for another one, such as the first to be restarted.
    """
    with options.node() as node:
        node.wait_for(timeout=options.timeout)
        for number, peer in enumerate(_whom(node, wanted, drain_all)):
            patience = wait if number else 0.0
            if not force and (services := _last_after(node, peer, patience)):
                raise click.ClickException(
                    f"{peer} is the last node that serves {', '.join(services)}: its callers would "
                    "find nobody; --force drains it even so"
                )
            outcome = _drain(node, peer, wait, stop, options.timeout)
            _tell(outcome, stop, as_json)
            if not outcome.drained or (stop and not outcome.ended):
                return errors.FAILED
    return errors.OK


def _whom(node: mesh.Node, wanted: str, drain_all: bool) -> Sequence[mesh.Peer]:
    """Raises ClickException when it is nobody, or several and nobody said that all are meant."""
    here = [peer for peer in node.peers() if peer.state not in ("failed", "left")]
    found = sorted(matching(here, wanted), key=lambda peer: peer.id)
    if not found:
        raise click.ClickException(f"{wanted!r} is no node; 'meshctl peers' lists them")
    if len(found) > 1 and not drain_all:
        names = ", ".join(map(str, found))
        what = f"{wanted!r} is {count_of(len(found), 'node')}: {names}"
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            raise click.ClickException(f"{what}; --all drains them one by one, an id one of them")
        click.confirm(printable(f"{what}\nDrain them, one by one?"), abort=True, err=True)
    return found


def last_of(peer: mesh.Peer, peers: Iterable[mesh.Peer]) -> list[str]:
    """The services with methods that this node serves and no other alive one does."""
    others = [one for one in peers if one.id != peer.id and one.state == "alive"]
    return sorted(
        service
        for service, methods in peer.services.items()
        if methods and not any(service in one.services for one in others)
    )


def _last_after(node: mesh.Node, peer: mesh.Peer, patience: float) -> list[str]:
    """The same, once others had time to come back."""
    deadline = monotonic() + patience
    while services := last_of(peer, node.peers()):
        if monotonic() >= deadline:
            break
        with _progress(f"{peer}: waiting for another node that serves {', '.join(services)}"):
            sleep(LOOK_EVERY)
    return services


def _drain(node: mesh.Node, peer: mesh.Peer, wait: float, stop: bool, timeout: float) -> _Outcome:
    """Begin it, and follow it. Raises what the node said if it does not even begin."""
    began = monotonic()
    outcome = _Outcome(peer)
    answer = _ask(node, peer, wait, stop, timeout)
    if answer.error is not None:
        raise answer.error
    while True:
        outcome.seconds = monotonic() - began
        if not answer.trouble:
            outcome.left = texts_of(answer.value, "left")
            outcome.drained = value_of(answer.value, "is_over") is True
        state = _state(node, peer)
        if state == "left":
            # It says goodbye when it is drained, or when its time is over.
            outcome.drained = outcome.drained or (stop and outcome.seconds < wait)
            outcome.ended = True
            return outcome
        if state == "failed":
            outcome.drained, outcome.ended = False, True
            outcome.left.append("it has failed")
            return outcome
        if outcome.drained and not stop:
            return outcome
        if outcome.seconds > wait + (ENDS_WITHIN if stop else 0):
            return outcome
        left = ", ".join(outcome.left) or ("ending" if outcome.drained else "messages still come")
        with _progress(f"{peer}: {outcome.seconds:.0f} s: {left}"):
            sleep(LOOK_EVERY)
        if not outcome.drained:
            answer = _ask(node, peer, max(0.0, wait - outcome.seconds), stop, timeout)


def _ask(node: mesh.Node, peer: mesh.Peer, wait: float, stop: bool, timeout: float) -> Answer:
    return ask_now(node, [peer], "drain", wait, stop, timeout=timeout)[0]


def _state(node: mesh.Node, peer: mesh.Peer) -> str:
    return next((one.state for one in node.peers(all=True) if one.id == peer.id), "left")


@contextmanager
def _progress(line: str) -> Iterator[None]:
    """A line on the terminal for as long as it is so."""
    if not sys.stderr.isatty():
        yield
        return
    width = shutil.get_terminal_size().columns
    click.echo(f"\r\x1b[K{printable(line)[: width - 1]}", nl=False, err=True)
    try:
        yield
    finally:
        click.echo("\r\x1b[K", nl=False, err=True)


def _tell(outcome: _Outcome, stop: bool, as_json: bool) -> None:
    if as_json:
        print_json(
            {
                "id": outcome.peer.id,
                "name": outcome.peer.name,
                "drained": outcome.drained,
                "ended": outcome.ended,
                "seconds": outcome.seconds,
                "left": outcome.left,
            },
            is_line=True,
        )
    elif outcome.drained:
        end = " and ended" if outcome.ended else ""
        print_text(f"{outcome.peer} drained{end} after {outcome.seconds:.1f} s")
    if not outcome.drained:
        left = ", ".join(outcome.left) or "it has not said what"
        end = "it has ended" if outcome.ended else "it takes no new work; drain it again to wait on"
        errors.complain(
            printable(f"{outcome.peer} is not drained after {outcome.seconds:.1f} s: {left}; {end}")
        )
    elif stop and not outcome.ended:
        errors.complain(f"{outcome.peer} is drained but has not ended: is it in run()?")
