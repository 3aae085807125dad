"""``meshctl bench pubsub`` and ``groupcast``: messages to the parts of a run."""

from __future__ import annotations

import secrets
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import click

import mesh
from mesh.cli import errors
from mesh.cli.bench import NAME, crew, run_name, subject_of
from mesh.cli.bench.core.receipt import Stamper
from mesh.cli.bench.core.schedule import Plan, Schedule
from mesh.cli.bench.load import Sent, cast, publish
from mesh.cli.bench.part import Kind
from mesh.cli.bench.report import intent_of
from mesh.cli.bench.report_messages import show_groupcast, show_pubsub
from mesh.cli.bench.run import Run
from mesh.cli.options import Options
from mesh.cli.text import bytes_of, count_of

__all__ = ["Receivers", "groupcast", "pubsub"]


@dataclass(frozen=True)
class Receivers:
    """Who is to receive: so many here, or of those elsewhere (None: all there are)."""

    count: int | None
    is_remote: bool


def pubsub(
    options: Options,
    plan: Plan,
    receivers: Receivers,
    *,
    size: int,
    subjects: int,
    force: bool,
    as_json: bool,
) -> None:
    """Publish to subscribers, and print the sums, after Ctrl-C those so far.

    Raises ClickException where others would get it all, too (but for ``force``), and when it did
    not go as it must.
    """
    with options.node() as node, _run(options, node, "subscriber", receivers, size) as (id, run):
        names = [subject_of(id, number) for number in range(subjects)]
        stamper = Stamper(size)

        def load(sent: Sent, schedule: Schedule, first: int) -> Coroutine[Any, Any, None]:
            return publish(sent, schedule, node.aio, names, stamper, first, size, options.timeout)

        others = run.probe(load) - len(run.parts)
        if others > 0 and not force:
            raise click.ClickException(
                f"{count_of(others, 'other node')} would get all of this, too: a subscription "
                f"there, such as '>', matches {names[0]}; end it, or load it with --force"
            )
        _tell_start(f"publishing {bytes_of(size)} to", run, plan)
        try:
            run.play(plan, load)
        finally:
            if run.is_measured:
                show_pubsub(plan, size, subjects, run, as_json=as_json)
        _complain(run)


def groupcast(
    options: Options, plan: Plan, receivers: Receivers, *, size: int, as_json: bool
) -> None:
    """Groupcast to workers, wait until all is acknowledged, and print as ``pubsub`` does."""
    with options.node() as node, _run(options, node, "worker", receivers, size) as (id, run):
        group, stamper = run_name(id), Stamper(size)

        def load(sent: Sent, schedule: Schedule, first: int) -> Coroutine[Any, Any, None]:
            return cast(sent, schedule, node.aio, group, stamper, first, options.timeout)

        run.probe(load)
        _tell_start(f"sending {bytes_of(size)} to one of", run, plan)
        try:
            run.play(plan, load)
        finally:
            if run.is_measured:
                show_groupcast(plan, size, run, as_json=as_json)
        _complain(run)


@contextmanager
def _run(
    options: Options, node: mesh.Node, kind: Kind, receivers: Receivers, size: int
) -> Iterator[tuple[str, Run]]:
    id = secrets.token_hex(4)
    node.wait_for(timeout=options.timeout)
    if receivers.is_remote:
        parts = crew.remote(node, kind, id, receivers.count, size, options.timeout)
    else:
        there = sum(NAME in peer.services for peer in node.peers())
        if there:
            run = "runs" if there == 1 else "run"
            errors.note(f"{count_of(there, 'node')} {run} 'meshctl bench serve': --remote uses it")
        count = receivers.count or 1
        parts = crew.local(node, options.settings(), kind, id, count, size)
    with parts as peers:
        yield id, Run(node, kind, id, peers, size, options.timeout)


def _tell_start(what: str, run: Run, plan: Plan) -> None:
    to = count_of(len(run.parts), run.kind)
    errors.note(f"{what} {to} {intent_of(plan)}; Ctrl-C ends")


def _complain(run: Run) -> None:
    """Raises ClickException when what was measured is not all that was to be."""
    if run.gone:
        gone = "; ".join(f"{part}: {why}" for part, why in run.gone_parts())
        raise click.ClickException(f"the sums lack what these had: {gone}")
    if not run.received:
        raise click.ClickException("nothing arrived; 'meshctl ping' shows whether all answer")
    if problem := run.problem():
        raise click.ClickException(problem)
