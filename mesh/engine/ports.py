"""What the engine needs from below, and what it offers to it: the transport and the clock.

The engine imports neither sockets nor an event loop. On the network ``mesh.transport`` stands
behind these ports; in a test a simulated network on virtual time does. Everything is called on
one thread. Transport callbacks arrive between ``begin_drain`` and ``end_drain``, so that whatever
they cause leaves in one go.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from patterns.port import Clock

__all__ = [
    "Access",
    "Bound",
    "Clock",
    "Dial",
    "Identity",
    "Lane",
    "ProbeResult",
    "ReplyResult",
    "Transport",
    "TransportEvents",
]

ProbeResult = str
"""What a plain connect met: "refused" (nobody listens: evidence), "alive" (a process greeted us,
maybe not the one we mean), "open" (connected, but nothing was said) or "unknown"."""


ReplyResult = str
"""What became of a reply: "sent", "gone" (the connection) or "full" (its reader does not read)."""


class Bound(NamedTuple):
    """Where a transport listens: the link addresses that others can dial, and the ports for
    requests and for work on the same hosts."""

    addresses: tuple[str, ...]
    rpc_port: int
    work_port: int


class Identity(Protocol):
    """Who a node has proved to be; hashable. ``mesh.security.Identity`` is one."""

    @property
    def name(self) -> str: ...

    @property
    def roles(self) -> frozenset[str]: ...


class Access(Protocol):
    """Who may do what. ``mesh.security.Policy`` is one."""

    def decide(self, identity: Any, right: str, name: str) -> tuple[bool, str]:
        """Whether an ``Identity``, or None, has that right to the name, and by which rule."""


class Dial(Protocol):
    """One outgoing link connection. ``owner`` is free for the engine."""

    address: str
    owner: Any


class Lane(Protocol):
    """One outgoing connection for requests, or for work. ``owner`` is free for the engine."""

    owner: Any


class Transport(Protocol):
    """The sockets of the planes. Sends never block and never raise for a peer that is gone."""

    def open(self, events: TransportEvents) -> Bound:
        """Bind."""

    def identity_of(self, id: bytes) -> Identity | None:
        """Who the peer with that id has proved to be; None for one that has proved nothing.

        Known before the first frame of the peer is handed over, and the same for as long as its
        link is.
        """

    def dial(self, address: str, hello: bytes, info: bytes) -> Dial:
        """Connect to a peer's link socket and keep it connected until ``hang_up``.

        Raises OSError when there is no descriptor left for it; so do ``open_lane`` and
        ``open_work_lane``.
        """

    def shortage(self) -> str | None:
        """Why there is no room for a link with one more peer, in words; None when there is."""

    def hang_up(self, dial: Dial) -> None: ...

    def catch_up(self, dial: Dial) -> None:
        """Tell at once of the frames that have arrived on it."""

    def send_link(self, frame: bytes, payload: bytes = b"") -> None:
        """Send a frame; its first bytes name the receiver and the link number. ``payload`` is a
        second part, which the frame's kind announces (``IN_PARTS``)."""

    def open_lane(self, address: str, id: bytes) -> Lane:
        """Connect to the request socket of the peer with that id."""

    def open_work_lane(self, address: str, id: bytes) -> Lane:
        """Connect to the work socket of the peer with that id."""

    def close_lane(self, lane: Lane) -> None:
        """Disconnect a lane of either kind; what is still unsent on it is dropped."""

    def send_request(self, lane: Lane, frame: bytes) -> bool:
        """False when the connection is of no use any more: open another."""

    def send_work(self, lane: Lane, frame: bytes) -> bool:
        """False when it is not connected now: keep the frame until ``on_work_ready``.

        True is no promise. A connection that ends takes with it what was on its way, and the next
        one is made without a word.
        """

    def send_reply(self, route: bytes, frame: bytes) -> ReplyResult:
        """Answer on the connection that a request came by."""

    def probe(self, address: str, done: Callable[[ProbeResult], None]) -> None:
        """Try a plain connection, within a second; ``done`` is called once."""

    def close(self) -> None:
        """Stop all I/O; no callback comes afterwards."""


class TransportEvents(Protocol):
    """What the transport tells the engine."""

    def begin_drain(self) -> None: ...

    def end_drain(self) -> None: ...

    def on_refused(self, dial: Dial, code: str, text: str) -> None:
        """Whoever listens there lets us not even in."""

    def on_expelled(self, id: bytes, reason: str) -> None:
        """That node is no member any more, by its keys: nothing of it is let in from now on."""

    def on_stranger(self) -> None:
        """A frame was dropped that came not from whom it says."""

    def is_member(self, id: bytes) -> bool:
        """Whether its connections are kept, whoever else comes."""

    def on_hello(self, id: bytes, link: int) -> None:
        """A peer's link connection came up and was given this number."""

    def on_info(self, topic: bytes) -> None:
        """What a peer says with its hello, raw."""

    def on_bye(self, id: bytes, link: int) -> None:
        """That link connection of a peer is gone."""

    def on_link_frame(self, dial: Dial, frame: bytes, payload: bytes) -> None:
        """A frame, and the second part that it announced, empty without."""

    def on_request_frame(self, route: bytes, frame: bytes) -> None: ...

    def on_reply_frame(self, lane: Lane, frame: bytes) -> None: ...

    def on_work_frame(self, frame: bytes) -> None: ...

    def on_work_ready(self, lane: Lane) -> None:
        """A work lane that took no frame the last time is connected now."""
