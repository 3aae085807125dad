"""``meshctl bench rpc``: calls of one method, made again and again."""

from __future__ import annotations

from dataclasses import dataclass
from time import monotonic_ns
from typing import Any

import click

import mesh
from mesh.cli import errors
from mesh.cli.bench.core.schedule import Plan
from mesh.cli.bench.load import Calls, call, on_loop
from mesh.cli.bench.report import intent_of, show_calls

__all__ = ["Target", "measure"]

IDLE_SECONDS = 60.0
"""There is nothing to do meanwhile."""


@dataclass
class Target:
    """What is called, and how."""

    service: str
    method: str
    positional: list[Any]
    named: dict[str, Any]
    options: dict[str, Any]
    """Of ``Node.service``."""

    def __str__(self) -> str:
        return f"{self.service}.{self.method}"


def measure(node: mesh.Node, target: Target, plan: Plan, in_flight: int, *, as_json: bool) -> None:
    """Call once, warm up, measure, and print the sums, after Ctrl-C those so far.

    Raises what the first call raises if no other one could fare better, and ClickException when
    none was answered.
    """
    _try(node, target)
    method = node.aio.service(target.service, **target.options)[target.method]

    def once() -> Any:
        return method(*target.positional, **target.named)

    errors.note(f"calling {target} {intent_of(plan)}, {in_flight} in flight; Ctrl-C ends")
    if plan.warm_up:
        schedule = plan.warm_up_schedule(monotonic_ns())
        on_loop(node, call(Calls(), schedule, in_flight, once), _nothing, IDLE_SECONDS)
    calls = Calls()
    calls.began = calls.ended = monotonic_ns()
    schedule = plan.schedule(calls.began)
    try:
        on_loop(node, call(calls, schedule, in_flight, once), _nothing, IDLE_SECONDS)
    finally:
        late = schedule.missed(monotonic_ns())
        show_calls(str(target), plan, in_flight, calls, late, as_json=as_json)
    if not calls.latency.count:
        why = next(iter(calls.errors.first.values()), "there was no time for one")
        raise click.ClickException(f"no call was answered: {why}")


def _try(node: mesh.Node, target: Target) -> None:
    """What is wrong with the call itself is an error; what may happen to any call is counted."""
    service = node.service(target.service, **target.options)
    try:
        service[target.method](*target.positional, **target.named)
    except (mesh.RemoteError, mesh.CallTimeout, mesh.PeerLost, mesh.Overloaded):
        return


def _nothing() -> None:
    return
