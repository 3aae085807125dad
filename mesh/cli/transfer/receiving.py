"""``meshctl receive``: takes the files that others send, into one folder."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO

import mesh
from mesh.cli.transfer import hash_of
from mesh.cli.transfer.folder import BusyError, Folder
from mesh.cli.transfer.names import safe_name

__all__ = ["GOODBYE_SECONDS", "MAX_TRANSFERS", "Event", "Receiver"]

MAX_TRANSFERS = 8
"""Files that come at once; each has a thread of the node's pool. One more is refused."""

GOODBYE_SECONDS = 5.0
"""For the sender to say that it knows how it ended."""

SILENCE_SECONDS = 60.0
"""Without a byte from a sender that is there: its place is for others then."""

MAX_SIZE_DIGITS = 18
"""Of an exabyte."""


@dataclass(frozen=True)
class Event:
    """What happened to one file: "begun", "saved", "cut", "refused"."""

    what: str
    peer: mesh.Peer
    name: str
    """As it is here."""
    size: int
    """Bytes that are here; of one that has begun, those that come in all."""
    digest: str | None = None
    reason: str | None = None


class _RefusedError(Exception):
    """The sender is told why, and does not try again unless it is busy."""


class Receiver:
    """The handler of the streams; ``tell`` is called from any thread."""

    def __init__(self, folder: Folder, tell: Callable[[Event], None]) -> None:
        self._folder = folder
        self._tell = tell

    def serve(self, stream: mesh.Stream) -> None:
        """One file, or what comes of it before the stream breaks."""
        name = safe_name(stream.headers.get("name", ""))
        try:
            size = _size(stream.headers)
            with self._folder.part(name) as file:
                self._receive(stream, file, name, size)
        except BusyError:
            self._refuse(stream, name, "a file of that name is coming already", is_busy=True)
        except _RefusedError as error:
            self._refuse(stream, name, str(error))
        except mesh.MeshError as error:  # before OSError, which PeerLost is, too
            stream.abort("nothing came, or it was cut off")
            self._tell(Event("cut", stream.peer, name, 0, reason=str(error)))
        except OSError as error:
            self._refuse(stream, name, f"it cannot be kept: {error.strerror or error}")

    def _receive(self, stream: mesh.Stream, file: BinaryIO, name: str, size: int) -> None:
        digest, offset = hash_of(file, size)
        if not self._folder.has_room(size - offset):
            raise _RefusedError("there is no room for it on the disk")
        stream.send({"offset": offset, "digest": digest.hexdigest()})
        start = _field(stream.receive(SILENCE_SECONDS), "from", int)
        if start not in (0, offset):
            raise _RefusedError(f"it has {offset} bytes, and was sent those from {start}")
        if start != offset:
            digest, _ = hash_of(file, 0)
        file.truncate(start)
        file.seek(start)
        self._tell(Event("begun", stream.peer, name, size))
        wanted = self._take(stream, file, digest, size - start)
        if digest.hexdigest() != wanted:
            file.truncate(0)  # there is no telling where it went wrong
            raise _RefusedError("it arrived damaged")
        saved = self._folder.keep(file, name)
        stream.end({"digest": digest.hexdigest(), "saved": saved})
        with contextlib.suppress(mesh.MeshError):
            stream.receive(GOODBYE_SECONDS)
        self._tell(Event("saved", stream.peer, saved, size, digest.hexdigest()))

    def _take(self, stream: mesh.Stream, file: BinaryIO, digest: Any, left: int) -> str:
        """The bytes; returns the digest that the sender gives for all of it."""
        while isinstance(data := stream.receive(SILENCE_SECONDS), bytes):
            left -= len(data)
            if left < 0:
                raise _RefusedError("more came than was offered")
            digest.update(data)
            view = memoryview(data)
            while view:
                view = view[file.write(view) :]
        if left:
            raise _RefusedError("it ended before its end")
        wanted: str = _field(data, "digest", str)
        return wanted

    def _refuse(
        self, stream: mesh.Stream, name: str, reason: str, *, is_busy: bool = False
    ) -> None:
        self._tell(Event("refused", stream.peer, name, 0, reason=reason))
        with contextlib.suppress(mesh.MeshError):
            stream.end({"refused": reason} | ({"busy": "1"} if is_busy else {}))


def _size(headers: dict[str, str]) -> int:
    text = headers.get("size", "")
    if not (text.isascii() and text.isdigit() and len(text) <= MAX_SIZE_DIGITS):
        raise _RefusedError("that is no size of a file")
    return int(text)


def _field(message: Any, name: str, kind: type) -> Any:
    value = message.get(name) if isinstance(message, dict) else None
    if type(value) is not kind:
        raise _RefusedError(f"a message with {name!r} was to come")
    return value
