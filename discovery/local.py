"""Same-host rendezvous: nodes of one machine find each other in a millisecond, without multicast.

A datagram to the loopback broadcast address reaches every socket that is bound to it, in this
network namespace and nowhere else. A newcomer says hello there; each node that hears it answers
with its own announcement, so both know each other whichever came first. A full socket buffer drops
datagrams silently, so each node repeats itself at growing intervals: a hello as long as it knows of
nobody, then only a reminder that it is here, which nobody answers (200 nodes that all asked all
again would cost the machine a second of CPU each time).

Two sockets are needed: all listeners share one address, so answers go to a second, private one.
The sockets are drained by `add_reader`: asyncio's own datagram transport takes one per wake-up.
"""

import asyncio
import errno
import os
import random
import socket
from collections.abc import Callable, Iterator

from discovery.datagram import MAX_DATAGRAM_BYTES, Kind, decode, encode
from discovery.hints import Hints
from discovery.source import Announcement, Candidate, SourceState, Status

PORT = 17_891
"""UDP port of the rendezvous: not assigned, and below the ephemeral ports."""

REPEAT_AFTER = (0.2, 1.0)
"""Seconds until a node first repeats itself, and from then until the next time."""

REPEAT_EVERY = 5.0
"""Seconds between all later times. With 200 nodes each hears 40 a second, for 0.1 % CPU."""

DRAIN_LIMIT = 64
"""Datagrams taken per wake-up of a socket, so that a flood leaves the loop to others."""

ANSWER_BURST = 512
"""Answers at once: all nodes of the largest machine may start together."""

ANSWER_RATE = 256.0
"""Answers a second after that: a flood of hellos costs about 1 % CPU to answer."""

RECEIVE_BUFFER_BYTES = 1_048_576
"""Asked of the kernel: one small datagram costs it 0.8 KB, and its default holds only 250."""

_BROADCAST = "127.255.255.255"
_LOOPBACK = "127.0.0.1"


class Local:
    """Finds the nodes of this machine (of this network namespace) by loopback broadcast.

    `port` is the UDP port of the rendezvous: nodes find each other when they use the same.
    `ignored` counts datagrams that were not valid, `unanswered` hellos beyond the answer
    rate, whose senders hear of this node with its next reminder.
    """

    name = "local"

    def __init__(self, port: int = PORT) -> None:
        self.ignored = 0
        self.unanswered = 0
        self._address = (_BROADCAST, port)
        self._status: Status = "idle"
        self._reason = ""
        self._hints: Hints | None = None
        self._shared: socket.socket | None = None
        self._private: socket.socket | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._hello = b""
        self._here = b""
        self._allowed = float(ANSWER_BURST)
        self._allowed_at = 0.0

    @property
    def state(self) -> SourceState:
        """How this source is doing; its candidates are the nodes heard."""
        return SourceState(self._status, self._reason, self._hints.known if self._hints else ())

    async def start(self, announcement: Announcement, found: Callable[[Candidate], None]) -> None:
        """Say hello and listen. Does not raise where the machine cannot do it: see `state`.

        Raises `RuntimeError` if not idle.
        """
        if self._status != "idle":
            raise RuntimeError(f"this source is {self._status}: make a new one")
        self._hints = Hints(announcement.id, found)
        self.update(announcement)
        try:
            self._open()
        except OSError as error:
            self._release()
            self._fail("cannot listen", error)
            return
        self._status = "working"
        # All that listen already get the first hello; who binds later says hello itself.
        self._say(_pauses())

    def update(self, announcement: Announcement) -> None:
        """This node has other addresses now: the next reminder says so."""
        self._hello = encode(Kind.HELLO, announcement)
        self._here = encode(Kind.HERE, announcement)

    async def close(self) -> None:
        """Stop listening. Idempotent. There is no goodbye: others only lose a hint."""
        self._status, self._reason = "closed", ""
        if self._hints is not None:
            self._hints.close()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._release()

    def _open(self) -> None:
        loop = asyncio.get_running_loop()
        self._allowed_at = loop.time()
        self._shared = _datagram_socket()
        self._shared.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._shared.bind(self._address)
        self._private = _datagram_socket()
        self._private.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        self._private.bind((_LOOPBACK, 0))
        loop.add_reader(self._shared, self._drain, self._shared)
        loop.add_reader(self._private, self._drain, self._private)

    def _release(self) -> None:
        loop = asyncio.get_running_loop()
        for opened in (self._shared, self._private):
            if opened is not None:
                loop.remove_reader(opened)
                opened.close()
        self._shared = self._private = None

    def _say(self, pauses: Iterator[float]) -> None:
        """Say hello, or remind those it knows of; then again after the next of `pauses`."""
        assert self._hints is not None  # noqa: S101  set by start(), the only way here
        self._timer = asyncio.get_running_loop().call_later(next(pauses), self._say, pauses)
        try:
            self._send(self._hello if self._hints.is_empty else self._here, self._address)
        except OSError as error:
            self._fail("cannot send", error)
        else:
            self._status, self._reason = "working", ""

    def _send(self, data: bytes, address: tuple[str, int]) -> None:
        assert self._private is not None  # noqa: S101  open while a timer or reader is set
        self._private.sendto(data, address)

    def _drain(self, readable: socket.socket) -> None:
        for _ in range(DRAIN_LIMIT):
            try:
                data, sender = readable.recvfrom(MAX_DATAGRAM_BYTES + 1)
            except BlockingIOError:
                return
            except OSError as error:
                self._fail("cannot receive", error)
                return
            self._take(data, sender)

    def _take(self, data: bytes, sender: tuple[str, int]) -> None:
        assert self._hints is not None  # noqa: S101  set before the sockets are
        try:
            kind, other = decode(data)
        except ValueError:
            self.ignored += 1
            return
        candidate = other.candidate(self.name)
        if kind is Kind.HELLO and not self._hints.is_own(candidate):
            self._answer(sender)
        self._hints.offer(candidate)

    def _answer(self, sender: tuple[str, int]) -> None:
        now = asyncio.get_running_loop().time()
        earned = (now - self._allowed_at) * ANSWER_RATE
        self._allowed = min(float(ANSWER_BURST), self._allowed + earned)
        self._allowed_at = now
        if self._allowed < 1.0:
            self.unanswered += 1
            return
        self._allowed -= 1.0
        try:
            self._send(self._here, sender)
        except OSError:
            # The sender may be gone; if not, it hears the next reminder.
            self.unanswered += 1

    def _fail(self, what: str, error: OSError) -> None:
        self._status = "failing"
        self._reason = f"{what} on UDP {_BROADCAST}:{self._address[1]}: {_explain(error)}"


def _pauses() -> Iterator[float]:
    yield from REPEAT_AFTER
    while True:
        # Nodes that started together should not all speak in the same millisecond for ever.
        yield REPEAT_EVERY * random.uniform(0.8, 1.2)  # noqa: S311  no secret


def _datagram_socket() -> socket.socket:
    opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    opened.setblocking(False)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
    return opened


def _explain(error: OSError) -> str:
    text = os.strerror(error.errno) if error.errno else str(error)
    if error.errno == errno.EADDRINUSE:
        return f"{text}: another program holds the port for itself; use another port"
    if error.errno in (errno.ENETUNREACH, errno.EADDRNOTAVAIL, errno.EACCES):
        return f"{text}: this machine has no loopback broadcast; use seeds"
    return text
