"""Asks members what they see: ``_mesh.state`` of each, at the same time, with a deadline.

What they answer comes from other machines, of other versions: a field that is missing, or is not
what it should be, is left out.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, TypeGuard

import mesh
from mesh.cli.doctor.facts import Member, Seen, View
from mesh.inspection.state import PARTS

__all__ = ["MAX_ASKED", "ask_all", "most_asked", "seen_in", "view_of"]

AT_ONCE = 32
"""Questions on their way at the same time."""

MAX_ASKED = 256
MAX_ENTRIES = 65_536
"""Members that are asked, and peers in all their answers: each of a mesh of 1,000 tells of 1,000,
so there only 65 are asked."""

MAX_PEERS = 4096
"""Peers that are read of one answer."""

ANSWER = 2.0
"""Seconds for an answer."""

PING = 1.0
"""Seconds for a ping to one that did not answer."""

WANTED = ("node", "process", "peers", "discovery")
_ID = re.compile("[0-9a-f]{32}")

SINCE_LATER = ("health",)
"""Parts that not all nodes have."""


async def ask_all(
    node: mesh.AsyncNode,
    peers: Iterable[mesh.Peer],
    told: Mapping[str, Member],
    deadline: float,
) -> list[Member]:
    """The peers with what they tell; of those beyond ``most_asked`` only what we know.

    Those in ``told`` have told already. Observers are not asked: nobody needs to see them.
    """
    turns = asyncio.Semaphore(AT_ONCE)
    peers = list(peers)
    most = most_asked(len(peers))

    async def one(number: int, peer: mesh.Peer) -> Member:
        if peer.id in told:
            return replace(told[peer.id], state=peer.state)
        if peer.is_observer:
            return _member(peer, None, "")
        if number >= most:
            return _member(peer, None, "they are too many")
        async with turns:
            return await _ask(node, peer, deadline)

    return list(await asyncio.gather(*(one(*pair) for pair in enumerate(peers))))


def most_asked(peers: int) -> int:
    """How many of so many are asked."""
    return min(MAX_ASKED, MAX_ENTRIES // max(1, peers))


async def _ask(node: mesh.AsyncNode, peer: mesh.Peer, deadline: float) -> Member:
    loop = asyncio.get_running_loop()
    timeout = min(ANSWER, deadline - loop.time())
    if timeout <= 0 or peer.state != "alive":
        return _member(peer, None, "silent")
    state = node.service("_mesh", peer=peer, timeout=timeout)["state"]
    asked = datetime.now(UTC)
    try:
        answer = await _told(state)
    except mesh.AccessDenied:
        return _member(peer, None, "denied")
    except (mesh.NoProvider, mesh.RemoteError, mesh.BadRequest):
        return _member(peer, None, "old")
    except mesh.MeshError:
        return _member(peer, None, await _why_silent(node, peer, deadline))
    return _member(peer, view_of(answer, asked, datetime.now(UTC)), "")


async def _told(state: Callable[..., Awaitable[Any]]) -> Any:
    """All that we would read; of a node that has not all parts those that it has."""
    later = [part for part in SINCE_LATER if part in PARTS]
    if later:
        with contextlib.suppress(mesh.RemoteError, mesh.BadRequest):
            return await state([*WANTED, *later])
    return await state(list(WANTED))


async def _why_silent(node: mesh.AsyncNode, peer: mesh.Peer, deadline: float) -> str:
    """Calls have a connection of their own; a ping goes over the link."""
    timeout = min(PING, deadline - asyncio.get_running_loop().time())
    try:
        await node.ping(peer, timeout=max(0.0, timeout))
    except mesh.MeshError:
        return "silent"
    return "calls"


def _member(peer: mesh.Peer, view: View | None, why_not: str) -> Member:
    return Member(
        peer.id,
        peer.name,
        peer.address,
        peer.state,
        peer.instance,
        peer.is_observer,
        view,
        why_not,
    )


def view_of(answer: Any, asked: datetime, answered: datetime) -> View:
    """What a node has told between two moments of our clock."""
    node, process = _part(answer, "node"), _part(answer, "process")
    health, sources = _part(answer, "health"), _part(answer, "discovery")
    now, clock = node.get("now"), None
    half = (answered - asked) / 2
    if isinstance(now, datetime) and now.tzinfo is not None:
        clock = (now - (asked + half)).total_seconds()
    reasons = health.get("reasons")
    return View(
        version=_text(node.get("version")),
        python=_text(node.get("python")),
        host=_text(node.get("host")),
        status=_text(health.get("status")) or "ready",
        reasons=tuple(map(_text, reasons)) if isinstance(reasons, list) else (),
        clock=clock,
        doubt=half.total_seconds(),
        descriptors=_number(process.get("descriptors")),
        descriptor_limit=_number(process.get("descriptor_limit")),
        peers=seen_in(answer.get("peers") if isinstance(answer, Mapping) else None),
        uses_mdns=not sources or "mdns" in sources,
    )


def seen_in(peers: Any) -> dict[str, Seen]:
    """The part "peers" of a node's state, by id."""
    found: dict[str, Seen] = {}
    for peer in peers[:MAX_PEERS] if isinstance(peers, list) else ():
        if isinstance(peer, Mapping) and _is_id(id := peer.get("id")):
            hears_us, is_heard = peer.get("hears_us") is True, peer.get("is_heard") is True
            found[id] = Seen(
                _text(peer.get("state")) or "unknown",
                hears_us and is_heard,
                _text(peer.get("name")),
                _text(peer.get("address")),
                hears_us=hears_us,
                is_heard=is_heard,
                is_observer=peer.get("is_observer") is True,
            )
    return found


def _is_id(value: Any) -> TypeGuard[str]:
    return isinstance(value, str) and _ID.fullmatch(value) is not None


def _part(answer: Any, name: str) -> Mapping[str, Any]:
    part = answer.get(name) if isinstance(answer, Mapping) else None
    return part if isinstance(part, Mapping) else {}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _number(value: Any) -> int | None:
    return value if type(value) is int else None
