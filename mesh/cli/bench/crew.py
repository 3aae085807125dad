"""Who takes part in a run: processes of this machine, or nodes of ``bench serve`` elsewhere."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import click

import mesh
from mesh.cli.bench import NAME, run_name
from mesh.cli.bench.helper import VARIABLE
from mesh.cli.bench.part import Kind
from mesh.cli.commands.peers import explain_nobody
from mesh.cli.fleet import Fleet, Trouble, module_command
from mesh.cli.text import count_of

__all__ = ["local", "remote"]

COMMAND = module_command("mesh.cli.bench.helper")

START_SECONDS = 30.0
"""For an interpreter and a node each, on a machine that is busy with other things."""

GOODBYE_SECONDS = 1.0


@contextmanager
def local(
    node: mesh.Node, settings: dict[str, Any], kind: Kind, run: str, count: int, size: int
) -> Iterator[list[mesh.Peer]]:
    """``count`` of a kind, in processes of this machine that end with the block.

    :param settings: of their nodes, as of ``node``

    Raises ClickException when they do not start or are not met.
    """
    environment = {VARIABLE: json.dumps([size, settings])}
    with Fleet(run, COMMAND, environment) as fleet:
        try:
            fleet.start([kind] * count, START_SECONDS)
        except Trouble as trouble:
            raise click.ClickException(str(trouble)) from None
        yield _meet(node, run, count, START_SECONDS)


@contextmanager
def remote(
    node: mesh.Node, kind: Kind, run: str, count: int | None, size: int, timeout: float
) -> Iterator[list[mesh.Peer]]:
    """One of a kind at each of those who run ``bench serve``, or at ``count`` of them.

    :param timeout: seconds for each to begin, and then to be met

    Raises ClickException when there are too few, and what a call raises.
    """
    servers = _servers(node, count, timeout)
    for server in servers:
        node.service(NAME, peer=server, timeout=timeout).take_part(run, kind, size)
    parts = _meet(node, run, len(servers), timeout)
    try:
        yield parts
    finally:
        for part in parts:
            with suppress(mesh.MeshError):  # one that is gone, or ends by its lease
                node.service(run_name(run), peer=part, timeout=GOODBYE_SECONDS).end()


def _servers(node: mesh.Node, count: int | None, timeout: float) -> Sequence[mesh.Peer]:
    there = [peer for peer in node.peers() if NAME in peer.services and peer.state == "alive"]
    there.sort(key=lambda peer: peer.id)
    if not there:
        if not node.peers():
            explain_nobody(node, timeout)
        raise click.ClickException(
            f"nobody runs 'meshctl bench serve' in the mesh {node.mesh!r}; start it on the other "
            "machines, with the same --mesh and key"
        )
    if count is not None and len(there) < count:
        nodes = count_of(len(there), "node")
        raise click.ClickException(
            f"{count} were to take part, 'meshctl bench serve' runs on {nodes}: start more of it"
        )
    return there[:count]


def _meet(node: mesh.Node, run: str, count: int, timeout: float) -> list[mesh.Peer]:
    try:
        return node.wait_for(run_name(run), count=count, timeout=timeout)
    except mesh.Timeout as error:
        raise click.ClickException(f"those who take part were not met: {error}") from None
