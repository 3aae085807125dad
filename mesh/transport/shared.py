"""Payloads between processes of one user on one host, through memory that both see.

TCP on a host costs two copies by the kernel and several wake-ups for each payload. Here the sender
copies it into a ring, the frame says where it lies, and the receiver copies it out.

* **Who may.** The ring is a nameless file (``memfd``), which another process opens by
  ``/proc/PID/fd``: the kernel lets only those who could read this process's memory anyway, and
  nothing is left behind however a process ends. Whoever cannot open it (another host, another
  user, a container) says so, and gets payloads as parts, as everybody does until he has answered.
* **When a place is free again.** Never asked: a link has at most ``MAX_WINDOW_BYTES`` under way,
  and the ring is larger than that, so what is overwritten was read before, or is of an epoch that
  is over. The sender counts the bytes that it puts there, and says in the ring how far it is before
  it writes: so a reader knows, after it has copied, whether that was overwritten meanwhile. Then
  the payload is lost, and told as any other.
* **Whom to trust.** The ring cannot shrink (sealed), so to read it cannot kill the reader. A peer
  that writes what it likes there could have sent that as well; it gets no more than that.
"""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Callable
from hashlib import sha256
from mmap import ACCESS_READ, ACCESS_WRITE, mmap

from mesh.links.outbox import MAX_WINDOW_BYTES
from mesh.logs import get_logger
from mesh.transport import descriptors
from mesh.wire.frames import MAX_LINK_FRAME_BYTES
from mesh.wire.sharing import (
    TOKEN_SIZE,
    Offer,
    Place,
    pack_answer,
    pack_offer,
    pack_place,
    unpack_answer,
    unpack_offer,
    unpack_place,
)

try:
    from fcntl import F_ADD_SEALS, F_GET_SEALS, F_SEAL_GROW, F_SEAL_SEAL, F_SEAL_SHRINK, fcntl
    from os import MFD_ALLOW_SEALING, MFD_CLOEXEC, memfd_create

    SEALS = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL
except ImportError:  # not Linux
    SEALS = 0

__all__ = ["RING_BYTES", "Rings", "View"]

logger = get_logger("mesh.transport")

RING_BYTES = MAX_WINDOW_BYTES + 4 * MAX_LINK_FRAME_BYTES
"""A window, what is lost at the ring's end, and one more. Only what was written takes memory."""

MAX_RINGS = 16
"""Of one node: a hundred would take a gigabyte. To more processes payloads go as parts."""

MOST_RING_BYTES = 2 * RING_BYTES
"""Of somebody else's ring. To read what was never written takes memory, too."""

MAX_OFFERS = 64
"""On one connection, which libzmq may make anew; each costs an answer that waits to be read."""

FOR_RING = descriptors.Need("memory shared with a process", 2, 256)
"""An optimisation must not take what a link needs."""

NAME = "mesh-payloads"
LINKED_TO = f"/memfd:{NAME} (deleted)"
"""What a descriptor is before it is opened: to open a device or a pipe may do something."""

HEADER_BYTES = 64
"""The token, and how far the sender is."""

ALIGN = 64


class Ring:
    """The sender's end, for one link."""

    def __init__(self) -> None:
        """Raises OSError."""
        self.token = secrets.token_bytes(TOKEN_SIZE)
        host = host_of(self.token)
        self.is_seen = False
        """Whether the peer has opened it."""
        self._fd = memfd_create(NAME, MFD_CLOEXEC | MFD_ALLOW_SEALING)
        try:
            os.ftruncate(self._fd, RING_BYTES)
            fcntl(self._fd, F_ADD_SEALS, SEALS)
            self._memory = mmap(self._fd, RING_BYTES, access=ACCESS_WRITE)
        except BaseException:
            os.close(self._fd)
            raise
        self._memory[:TOKEN_SIZE] = self.token
        self._header = position_in(self._memory)
        self._next = HEADER_BYTES
        # Random, so that no place of one ring is one of another's.
        self._position = secrets.randbits(62)
        self.offer = pack_offer(Offer(host, self.token, os.getpid(), self._fd, RING_BYTES))
        """What the peer has to know, packed."""

    def write(self, payload: bytes) -> bytes:
        """Put it there; returns its place, packed."""
        size = len(payload)
        begin = self._next
        if begin + size > RING_BYTES:
            self._position += RING_BYTES - begin
            begin = HEADER_BYTES
        taken = aligned(size)
        self._position += taken
        self._next = begin + taken
        self._header[0] = self._position
        self._memory[begin : begin + size] = payload
        return pack_place(Place(self._position, begin, size))

    def close(self) -> None:
        self._header.release()
        self._memory.close()
        os.close(self._fd)


class Rings:
    """The rings of one node, by the prefix of each link's frames."""

    def __init__(self) -> None:
        self._rings: dict[bytes, Ring | None] = {}
        """None: the peer cannot see it, or there is none to be had."""
        self._by_token: dict[bytes, bytes] = {}

    def put(self, prefix: bytes, payload: bytes) -> bytes | None:
        """Its place, if the peer of that link sees our memory."""
        ring = self._rings.get(prefix)
        return ring.write(payload) if ring is not None and ring.is_seen else None

    def offer(self, prefix: bytes) -> bytes:
        """An offer for the peer of that link, where there is one to be made: once."""
        if prefix in self._rings or not SEALS or len(self._by_token) >= MAX_RINGS:
            return b""
        self._rings[prefix] = None
        try:
            descriptors.check(FOR_RING)
            ring = Ring()
        except OSError as error:
            logger.debug("no shared memory for payloads: %s", error)
            return b""
        self._rings[prefix] = ring
        self._by_token[ring.token] = prefix
        return ring.offer

    def answered(self, topic: bytes) -> None:
        """A link string that may be the answer to an offer."""
        answer = unpack_answer(topic)
        prefix = self._by_token.get(answer[0]) if answer is not None else None
        if answer is None or prefix is None:
            return
        ring = self._rings[prefix]
        if answer[1] and ring is not None:
            ring.is_seen = True
        elif not answer[1]:
            self.end(prefix)
            self._rings[prefix] = None

    def end(self, prefix: bytes) -> None:
        """That link is no more."""
        ring = self._rings.pop(prefix, None)
        if ring is not None:
            del self._by_token[ring.token]
            ring.close()

    def close(self) -> None:
        for prefix in list(self._rings):
            self.end(prefix)


class View:
    """The receiver's end, for one connection.

    ``tell(topic, is_up)`` subscribes to a link string, or not any more. Offers are taken only on a
    connection that ``is_local``: elsewhere what goes by the network is meant to.
    """

    def __init__(self, tell: Callable[[bytes, bool], None], *, is_local: bool) -> None:
        self._tell = tell
        self._is_local = is_local
        self._memory: mmap | None = None
        self._header = memoryview(b"")
        self._answer = b""
        self._offers = 0

    def offered(self, data: bytes) -> None:
        """The sender offers a ring: look whether it can be seen, and say so."""
        offer = unpack_offer(data)
        if offer is None or self._offers >= MAX_OFFERS:
            return
        self._offers += 1
        self.close()
        try:
            if self._is_local:
                self._memory = _open(offer)
                self._header = position_in(self._memory)
        except (OSError, ValueError) as error:
            logger.debug("the memory that a peer offers cannot be had: %s", error)
        if self._answer:
            self._tell(self._answer, False)
        self._answer = pack_answer(offer.token, self._memory is not None)
        self._tell(self._answer, True)

    def read(self, data: bytes) -> bytes:
        """The payload at a place; nothing if it is not there (any more)."""
        place = unpack_place(data)
        memory = self._memory
        if place is None or memory is None:
            return b""
        end, begin, size = place
        if begin < HEADER_BYTES or begin + size > len(memory) or size > MAX_LINK_FRAME_BYTES:
            return b""
        payload = memory[begin : begin + size]
        # Afterwards: the sender says first how far it will be.
        position = self._header[0]
        room = len(memory) - HEADER_BYTES
        is_there = end <= position <= end - aligned(size) + room
        return payload if is_there else b""

    def close(self) -> None:
        memory, self._memory = self._memory, None
        if memory is not None:
            self._header.release()
            memory.close()


def position_in(memory: mmap) -> memoryview:
    """The sender's position, as one number.

    A view stores and loads it by one access of the machine. ``struct`` does not: it writes zeros
    first, and the other process reads them.
    """
    return memoryview(memory)[TOKEN_SIZE : TOKEN_SIZE + 8].cast("Q")


def aligned(size: int) -> int:
    """What so many bytes take in a ring."""
    return -(-size // ALIGN) * ALIGN


def host_of(token: bytes) -> bytes:
    """This kernel, since its start, to who knows it and the token."""
    with open("/proc/sys/kernel/random/boot_id", "rb") as file:
        return sha256(file.read() + token).digest()[:16]


def _open(offer: Offer) -> mmap:
    """Somebody's ring. Raises OSError, ValueError."""
    if not SEALS or offer.host != host_of(offer.token):
        raise OSError(errno.EXDEV, "it is on another host")
    if not 0 < offer.size <= MOST_RING_BYTES:
        raise ValueError(f"{offer.size} bytes")
    descriptors.check(FOR_RING)
    path = f"/proc/{offer.pid}/fd/{offer.fd}"
    if os.readlink(path) != LINKED_TO:
        raise ValueError(f"{path} is something else")
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        if fcntl(fd, F_GET_SEALS) & SEALS != SEALS or os.fstat(fd).st_size != offer.size:
            raise ValueError(f"{path} can shrink, or has another size")
        memory = mmap(fd, offer.size, access=ACCESS_READ)
    finally:
        os.close(fd)
    if memory[:TOKEN_SIZE] != offer.token:
        memory.close()
        raise ValueError(f"{path} is somebody else's")
    return memory
