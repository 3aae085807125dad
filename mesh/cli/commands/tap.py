"""``meshctl tap``: calls and messages as they pass nodes that allow it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import click

import mesh
from mesh.cli import errors
from mesh.cli.completion import complete_peers
from mesh.cli.loops import run_until_signal
from mesh.cli.options import Options, json_option, mesh_options, pass_options
from mesh.cli.output import print_json, print_text
from mesh.cli.peer_names import matching
from mesh.cli.text import bytes_of, count_of, milliseconds
from mesh.cli.tracing.gathering import MAX_TIME

__all__ = ["tap"]

EPILOG = """\b
Examples:
  meshctl tap                              all that passes all nodes
  meshctl tap calc --calls                 the calls at the nodes named calc
  meshctl tap --publishes --match 'sensors.>'
  meshctl tap calc --match calc.add --payload --json | jq .payload

A node shows nothing of itself unless it is made with allow=[..., "tap"], or MESH_ALLOW has "tap".
Who may tap a node may see payloads: as text, cut at 512 characters. With a policy the right is
'call' on _mesh.tap.
"""

MAX_WAITING = 64
"""Items of taps that wait to be printed. More wait in the nodes, which drop and say so."""


@click.command(epilog=EPILOG, short_help="Show calls and messages that pass nodes.")
@click.argument("nodes", metavar="[NODE]...", nargs=-1, shell_complete=complete_peers)
@click.option("--calls", is_flag=True, help="Calls, and streams that are opened.")
@click.option("--casts", is_flag=True, help="Groupcasts.")
@click.option("--publishes", is_flag=True, help="Publishes, broadcasts and sends.")
@click.option(
    "--match",
    metavar="PATTERN",
    help="Methods, subjects and groups that match: * is one word, > the rest.",
)
@click.option("--payload", is_flag=True, help="Show what they carry, cut at 512 characters.")
@click.option("--count", metavar="N", type=click.IntRange(min=1), help="End after N lines.")
@json_option("one JSON object per line")
@mesh_options
@pass_options
def tap(
    options: Options,
    nodes: tuple[str, ...],
    calls: bool,
    casts: bool,
    publishes: bool,
    match: str | None,
    payload: bool,
    count: int | None,
    as_json: bool,
) -> int:
    """Show calls and messages as they pass NODES, all by default, until Ctrl-C.

    A NODE is an id, its first digits, a name or an instance; those that are there when it begins
    are tapped. Calls are shown when they end. Without --calls, --casts and --publishes all three
    are shown. What comes faster than it is read is dropped, and told on stderr.
    """
    given = {"calls": calls, "casts": casts, "publishes": publishes}
    arguments = {
        "kinds": [kind for kind, is_given in given.items() if is_given],
        "match": match,
        "payload": payload,
    }

    async def work() -> None:
        async with options.async_node() as node:
            await node.wait_for(timeout=options.timeout)
            await _Tapping(node, arguments, as_json, options.timeout).run(
                _chosen(node.peers(), nodes), count
            )

    return run_until_signal(work())


def _chosen(peers: Sequence[mesh.Peer], wanted: Sequence[str]) -> list[mesh.Peer]:
    """Raises ClickException for a name that nobody has."""
    if not wanted:
        return list(peers)
    chosen: dict[str, mesh.Peer] = {}
    for name in wanted:
        found = matching(peers, name)
        if not found:
            raise click.ClickException(f"{name!r} is none of the peers; 'meshctl peers' lists them")
        chosen |= {peer.id: peer for peer in found}
    return list(chosen.values())


class _Tapping:
    """The taps of one command; what they give is printed in the order in which it came here."""

    def __init__(
        self, node: mesh.AsyncNode, arguments: dict[str, Any], as_json: bool, timeout: float
    ) -> None:
        self._node = node
        self._arguments = arguments
        self._as_json = as_json
        self._timeout = timeout
        self._items: asyncio.Queue[tuple[mesh.Peer, list[Any]] | None] = asyncio.Queue(MAX_WAITING)
        self._open = 0

    async def run(self, peers: Sequence[mesh.Peer], count: int | None) -> None:
        """Until so many lines are printed, or no node is left."""
        if not peers:
            raise click.ClickException("no node is here; 'meshctl discovery' says why")
        readers = [asyncio.ensure_future(self._read(peer)) for peer in peers]
        try:
            left = len(readers)
            printed = 0
            while left:
                item = await self._items.get()
                if item is None:
                    left -= 1
                    continue
                peer, events = item
                for event in events:
                    _show(peer, event, self._as_json)
                    printed += 1
                    if printed == count:
                        return
        finally:
            for reader in readers:
                reader.cancel()
            await asyncio.gather(*readers, return_exceptions=True)
        if not self._open:
            raise click.ClickException("no node could be tapped")

    async def _read(self, peer: mesh.Peer) -> None:
        try:
            await self._follow(peer)
        except mesh.NoProvider:
            errors.note(f"{peer} is of a version without taps")
        except mesh.AccessDenied as error:
            errors.note(errors.plain(error))  # it says who
        except mesh.MeshError as error:
            errors.note(f"{peer}: {errors.plain(error)}")
        await self._items.put(None)

    async def _follow(self, peer: mesh.Peer) -> None:
        service = self._node.service("_mesh", peer=peer, timeout=self._timeout)
        async with service.iterate["tap"](**self._arguments) as items:
            async for item in items:
                if not self._open:
                    errors.note("tapping; Ctrl-C ends")
                events, dropped = _read(item)
                if not events and not dropped:
                    self._open += 1
                if dropped:
                    lines = count_of(dropped, "line")
                    errors.note(f"{peer}: {lines} dropped: they come faster than they are read")
                if events:
                    await self._items.put((peer, events))


_FIELDS: dict[str, type | tuple[type, ...]] = {
    "time": float,
    "direction": str,
    "kind": str,
    "name": str,
    "peer": str,
    "size": (int, type(None)),
}


def _read(item: Any) -> tuple[list[dict[str, Any]], int]:
    """The events of an item, without what are none, and how many were dropped."""
    if not isinstance(item, dict):
        return [], 0
    events, dropped = item.get("events"), item.get("dropped")
    whole = [
        event
        for event in (events if isinstance(events, list) else ())
        if isinstance(event, dict)
        and all(isinstance(event.get(name), kinds) for name, kinds in _FIELDS.items())
        and 0 <= event["time"] < MAX_TIME
    ]
    return whole, dropped if isinstance(dropped, int) else 0


def _show(peer: mesh.Peer, event: dict[str, Any], as_json: bool) -> None:
    moment = datetime.fromtimestamp(event["time"], UTC)
    if as_json:
        node = {"id": peer.id, "name": peer.name}
        print_json({**event, "time": moment, "node": node}, is_line=True)
        return
    local = moment.astimezone()
    parts = [
        f"{local:%H:%M:%S}.{local.microsecond // 1000:03d}",
        f"{peer!s:<17}",
        f"{event['direction']:<3}",
        f"{event['kind']:<9}",
        str(event["name"]),
        *_rest(event),
    ]
    print_text("  ".join(parts))


def _rest(event: dict[str, Any]) -> list[str]:
    parts = [str(event["peer"])] if event["peer"] else []
    if isinstance(event.get("nodes"), int):
        parts.append(count_of(event["nodes"], "node"))
    if event.get("group"):
        parts.append(f"group {event['group']}")
    if event["size"] is not None:
        parts.append(bytes_of(event["size"]))
    if isinstance(event.get("seconds"), float):
        parts += [milliseconds(event["seconds"]), str(event.get("error") or "ok")]
    if event.get("redelivered"):
        parts.append("redelivered")
    if "payload" in event:
        parts.append(str(event["payload"]))
    return parts
