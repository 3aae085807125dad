"""``meshctl owner``: which node a key belongs to, why, and who would be next."""

from __future__ import annotations

from collections.abc import Sequence

import click

import mesh
from mesh.cli import errors
from mesh.cli.completion import complete_peers, complete_services
from mesh.cli.options import Options, json_option, mesh_options, pass_options
from mesh.cli.output import print_json, print_table, print_text
from mesh.cli.peer_names import the_one
from mesh.cli.value_command import ValueCommand
from mesh.engine.ownership import singleton_service
from mesh.ring import SLOTS, score, slot_of
from patterns.keys import key_bytes

__all__ = ["owner"]

EPILOG = """\b
Examples:
  meshctl owner calc user:7
  meshctl owner calc user:7 --explain
  meshctl owner calc user:7 --without 1a2b     if that node went
  meshctl owner --group workers user:7
  meshctl owner --singleton billing-run         which node runs it
"""


@click.command(cls=ValueCommand, epilog=EPILOG, short_help="Print which node owns a key.")
@click.argument("name", metavar="SERVICE", shell_complete=complete_services)
@click.argument("key", required=False)
@click.option("--group", "is_group", is_flag=True, help="SERVICE is the name of a group.")
@click.option("--singleton", is_flag=True, help="SERVICE is the name of a singleton; no KEY.")
@click.option("--explain", is_flag=True, help="All candidates, best first, with their scores.")
@click.option(
    "--without",
    metavar="PEER",
    shell_complete=complete_peers,
    help="Who would own it if that node went: its id, the first digits, name or instance.",
)
@json_option("the owner and who would be next; with --explain all candidates")
@mesh_options
@pass_options
def owner(
    options: Options,
    name: str,
    key: str | None,
    is_group: bool,
    singleton: bool,
    explain: bool,
    without: str | None,
    as_json: bool,
) -> None:
    """Print the node that owns KEY among those that provide SERVICE.

    KEY is text; the number 7 and the text 7 are the same key. A higher score is better. With
    --singleton: the node at which that one runs, or is about to; its log says when it began.
    """
    if singleton:
        if key is not None or is_group:
            raise click.UsageError("--singleton NAME: neither a KEY nor --group goes with it")
        name, key = _checked_singleton(name), name
    elif key is None:
        raise click.UsageError("Missing argument 'KEY'.")
    slot = slot_of(key_bytes(key))
    with options.node() as node:
        node.wait_for(timeout=options.timeout)
        members = _members(node, name, key, is_group)
        gone = _find(members, without) if without is not None else None
    left = [peer for peer in members if gone is None or peer.id != gone.id]
    if not left:
        raise click.ClickException(f"without {gone} nobody is left to own it")
    if as_json:
        what = {"group" if is_group else "service": name, "key": key, "slot": slot}
        print_json(what | _as_json(left, slot, explain, gone))
        return
    if gone is not None:
        owns = "owns it now" if gone.id == members[0].id else "does not own it: it would not move"
        errors.note(f"{gone} {owns}")
    if explain:
        print_text(f"slot {slot} of {SLOTS}")
        _print(left, slot)
    else:
        first = left[0]
        print_text(f"{first} at {first.address}, {first.state}")


def _checked_singleton(name: str) -> str:
    try:
        return singleton_service(name)
    except mesh.BadName as error:
        raise click.UsageError(str(error)) from None


def _members(node: mesh.Node, name: str, key: str, is_group: bool) -> list[mesh.Peer]:
    if not is_group:
        return node.owners(name, key)
    try:
        return node.owners(key=key, group=name)
    except mesh.NoProvider as error:
        raise click.ClickException(f"{error}; 'meshctl peers' shows who is in which") from None


def _find(members: Sequence[mesh.Peer], wanted: str) -> mesh.Peer:
    return the_one(members, wanted, among="candidates", advice="--explain lists them")


def _as_json(
    left: Sequence[mesh.Peer], slot: int, explain: bool, gone: mesh.Peer | None
) -> dict[str, object]:
    shown: dict[str, object] = {
        "owner": _peer(left[0], slot),
        "next": _peer(left[1], slot) if len(left) > 1 else None,
        "without": gone.id if gone is not None else None,
    }
    if explain:
        shown["candidates"] = [_peer(peer, slot) for peer in left]
    return shown


def _peer(peer: mesh.Peer, slot: int) -> dict[str, object]:
    return {
        "id": peer.id,
        "name": peer.name,
        "address": peer.address,
        "state": peer.state,
        "instance": peer.instance,
        "weight": peer.weight,
        "score": score(slot, peer.instance, peer.weight),
    }


def _print(left: Sequence[mesh.Peer], slot: int) -> None:
    roles = ("owner", "next")
    rows = [
        (
            str(rank + 1),
            roles[rank] if rank < len(roles) else "",
            peer.name,
            peer.id[:8],
            f"{score(slot, peer.instance, peer.weight):.6g}",
            f"{peer.weight:g}",
            peer.state,
            peer.instance,
        )
        for rank, peer in enumerate(left)
    ]
    columns = ("rank", "role", "name", "id", "score", "weight", "state", "instance")
    print_table(columns, rows, details=("instance",))
