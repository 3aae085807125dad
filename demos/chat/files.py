"""Files to and from other people, in calls to that one peer.

=============================  ==============================================================
``offer(transfer, name, size)``  may it be sent? It is refused when it is too large, when there
                               is no room on the disk, or when too many come already
``chunk(transfer, offset, data)``  the next piece; the answer is the leave to send another
``finish(transfer, digest)``   all was sent; the digest is that of all of it
``cancel(transfer)``           the sender has thought better of it
=============================  ==============================================================

Each answers with None, or with why not; either ends the transfer. What comes is written to an
unfinished file in the folder for downloads, which gets its name when it is whole and its digest is
right, and is removed otherwise. The name is the sender's, made safe; nothing is ever overwritten.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import hashlib
import os
import re
import shutil
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import mesh
from demos.chat.text import clean_line, safe_file_name, size_text
from demos.chat.wire import SERVICE

__all__ = ["CHUNK_BYTES", "DEFAULT_MAX_BYTES", "Files", "State", "Transfer"]

CHUNK_BYTES = 256 * 1024
"""Of a file in one call: a slow link moves it well within the time of a call."""

CALL_SECONDS = 30.0
"""The longest wait for leave to send the next piece."""

IDLE_SECONDS = 60.0
"""Without a piece for this long an incoming transfer is given up."""

DEFAULT_MAX_BYTES = 256 * 1024**2
"""The largest file that is taken without being asked for."""

MAX_RUNNING = 8
"""Transfers in one direction at once."""

SPARE_BYTES = 64 * 1024**2
"""What an incoming file must leave free on the disk."""

_ID = re.compile(r"[0-9a-f]{32}")
_BAR_CELLS = 12


class State(enum.Enum):
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(slots=True, eq=False)
class Transfer:
    """One file on its way, as both ends see it. ``reason`` says why it failed."""

    id: str
    person: str
    """The id of the node at the other end."""
    name: str
    """As it may be shown."""
    size_bytes: int
    is_incoming: bool
    done_bytes: int = 0
    state: State = State.RUNNING
    reason: str = ""
    path: Path | None = None
    """Where it is: at the sender from the start, at the receiver in the end."""

    @property
    def text(self) -> str:
        """For people."""
        arrow = "⇣" if self.is_incoming else "⇡"
        what = f"{arrow} {self.name}, {size_text(self.size_bytes)}"
        if self.state is State.RUNNING:
            part = self.done_bytes / self.size_bytes if self.size_bytes else 1.0
            cells = int(part * _BAR_CELLS)
            bar = "█" * cells + "░" * (_BAR_CELLS - cells)
            return f"{what}  {bar} {int(part * 100)} %"
        if self.state is State.DONE:
            return f"{what}: saved as {self.path}" if self.is_incoming else f"{what}: sent"
        return f"{what}: {self.state.value}" + (f", {self.reason}" if self.reason else "")


@dataclass(slots=True, eq=False)
class _Arrival:
    """An incoming file that is not whole yet."""

    transfer: Transfer
    file: BinaryIO
    path: Path
    timer: asyncio.TimerHandle
    digest: Any = field(default_factory=hashlib.sha256)
    is_writing: bool = False


class Files:
    """All transfers of one chat. ``on_change`` hears of each that is new or has changed."""

    def __init__(
        self,
        node: mesh.AsyncNode,
        downloads: Path,
        max_bytes: int,
        on_change: Callable[[Transfer], None],
    ) -> None:
        self._node = node
        self._downloads = downloads
        self._max_bytes = max_bytes
        self._on_change = on_change
        self._arriving: dict[tuple[str, str], _Arrival] = {}
        self._leaving: dict[str, Transfer] = {}

    @property
    def running(self) -> list[Transfer]:
        return [arrival.transfer for arrival in self._arriving.values()] + [*self._leaving.values()]

    def cancel(self, transfer: Transfer) -> None:
        """End a transfer from this side; the other one learns it with its next call, or by one."""
        if transfer.state is not State.RUNNING:
            return
        if transfer.is_incoming:
            self._give_up(self._arriving[transfer.person, transfer.id], State.CANCELLED, "by you")
        else:
            self._end(transfer, State.CANCELLED, "by you")

    def person_gone(self, person: str, reason: str) -> None:
        """Nothing more comes from there; what is sent there notices by itself."""
        for (sender, _), arrival in list(self._arriving.items()):
            if sender == person:
                self._give_up(arrival, State.FAILED, reason)

    def close(self) -> None:
        """Remove what is not whole."""
        for arrival in list(self._arriving.values()):
            self._give_up(arrival, State.CANCELLED, "the chat ended")

    # Sending.

    def begin(self, person: str, path: Path) -> Transfer:
        """A transfer to be sent. Raises OSError, and ValueError for what cannot be sent."""
        if not path.exists():
            raise ValueError(f"there is no file {path}")
        if not path.is_file():
            raise ValueError(f"{path} is no plain file")
        if len(self._leaving) >= MAX_RUNNING:
            raise ValueError(f"{MAX_RUNNING} files are being sent already; wait for one to end")
        name = clean_line(path.name)
        transfer = Transfer(uuid.uuid4().hex, person, name, path.stat().st_size, False, path=path)
        self._leaving[transfer.id] = transfer
        self._on_change(transfer)
        return transfer

    async def send(self, transfer: Transfer) -> None:
        """Send it to its end; that is in the transfer, whatever it is."""
        try:
            reason = await self._send(transfer)
        except mesh.MeshError as error:
            reason = str(error)
        except OSError as error:
            reason = error.strerror or str(error)
        finally:
            del self._leaving[transfer.id]
        if transfer.state is State.CANCELLED:
            await self._tell_cancelled(transfer)
        else:
            state = State.DONE if reason is None else State.FAILED
            self._end(transfer, state, clean_line(reason or ""))

    async def _send(self, transfer: Transfer) -> str | None:
        peer = self._node.service(SERVICE, peer=transfer.person, timeout=CALL_SECONDS)
        path = transfer.path
        assert path is not None  # noqa: S101  for the type checker; one to send has a path
        file = await asyncio.to_thread(path.open, "rb")
        with file:
            refusal = await peer.offer(transfer.id, path.name, transfer.size_bytes)
            digest = hashlib.sha256()
            while refusal is None and transfer.done_bytes < transfer.size_bytes:
                if transfer.state is not State.RUNNING:
                    return None
                wanted = min(CHUNK_BYTES, transfer.size_bytes - transfer.done_bytes)
                data = await asyncio.to_thread(file.read, wanted)
                if len(data) < wanted:
                    await self._tell_cancelled(transfer)
                    return "the file became shorter while it was sent"
                digest.update(data)
                refusal = await peer.chunk(transfer.id, transfer.done_bytes, data)
                transfer.done_bytes += len(data)
                if transfer.state is State.RUNNING:
                    self._on_change(transfer)
        if refusal is None and transfer.state is State.RUNNING:
            refusal = await peer.finish(transfer.id, digest.digest())
        return None if refusal is None else str(refusal)

    async def _tell_cancelled(self, transfer: Transfer) -> None:
        peer = self._node.service(SERVICE, peer=transfer.person, timeout=CALL_SECONDS)
        with contextlib.suppress(mesh.MeshError):  # then it gives up by itself
            await peer.cancel(transfer.id)

    # Receiving: what the service answers.

    def offer(self, sender: str, id: object, name: object, size: object) -> str | None:
        """Begin to take a file, or say why not."""
        if not (isinstance(id, str) and _ID.fullmatch(id) and isinstance(name, str)):
            return "that is no offer of a file"
        if type(size) is not int or size < 0:
            return "that is no size of a file"
        refusal = self._refusal(sender, id, size)
        if refusal is not None:
            return refusal
        transfer = Transfer(id, sender, safe_file_name(name), size, True)
        path = self._downloads / f".{transfer.id}.part"
        try:
            self._downloads.mkdir(parents=True, exist_ok=True)
            if shutil.disk_usage(self._downloads).free < transfer.size_bytes + SPARE_BYTES:
                return "there is no room for it on the disk"
            file = path.open("xb")
        except OSError as error:
            return f"it cannot be kept: {error.strerror}"
        arrival = _Arrival(transfer, file, path, self._watchdog(sender, transfer.id))
        self._arriving[sender, transfer.id] = arrival
        self._on_change(transfer)
        return None

    def _refusal(self, sender: str, id: str, size_bytes: int) -> str | None:
        if size_bytes > self._max_bytes:
            return f"it is larger than {size_text(self._max_bytes)}"
        if len(self._arriving) >= MAX_RUNNING:
            return f"{MAX_RUNNING} files are coming already"
        return "it is on its way already" if (sender, id) in self._arriving else None

    async def chunk(self, sender: str, id: object, offset: object, data: object) -> str | None:
        """Write a piece; None is the leave to send the next."""
        arrival = self._arriving.get((sender, str(id)))
        if arrival is None:
            return "it was ended there"
        transfer = arrival.transfer
        if not isinstance(data, bytes) or offset != transfer.done_bytes or arrival.is_writing:
            return self._give_up(arrival, State.FAILED, "a piece came out of turn")
        if transfer.done_bytes + len(data) > transfer.size_bytes:
            return self._give_up(arrival, State.FAILED, "more came than was offered")
        arrival.timer.cancel()
        arrival.timer = self._watchdog(sender, transfer.id)
        arrival.is_writing = True
        try:
            await asyncio.to_thread(arrival.file.write, data)
        except OSError as error:
            return self._give_up(arrival, State.FAILED, error.strerror or "it cannot be written")
        except ValueError:  # closed meanwhile
            return "it was ended there"
        finally:
            arrival.is_writing = False
        if transfer.state is not State.RUNNING:
            return "it was ended there"
        arrival.digest.update(data)
        transfer.done_bytes += len(data)
        self._on_change(transfer)
        return None

    def finish(self, sender: str, id: object, digest: object) -> str | None:
        """Give the file its name if it is whole."""
        arrival = self._arriving.get((sender, str(id)))
        if arrival is None:
            return "it was ended there"
        transfer = arrival.transfer
        if arrival.is_writing or transfer.done_bytes != transfer.size_bytes:
            return self._give_up(arrival, State.FAILED, "not all of it came")
        if digest != arrival.digest.digest():
            return self._give_up(arrival, State.FAILED, "it arrived damaged")
        try:
            arrival.file.close()
            transfer.path = self._keep(arrival)
        except OSError as error:
            return self._give_up(arrival, State.FAILED, error.strerror or "it cannot be written")
        self._forget(arrival)
        self._end(transfer, State.DONE)
        return None

    def cancelled(self, sender: str, id: object) -> None:
        """The sender has ended it."""
        arrival = self._arriving.get((sender, str(id)))
        if arrival is not None:
            self._give_up(arrival, State.CANCELLED, "by the sender")

    def _keep(self, arrival: _Arrival) -> Path:
        """Claim a name that nothing has, then put the file there."""
        for name in _names(arrival.transfer.name):
            path = self._downloads / name
            try:
                path.open("xb").close()
            except FileExistsError:
                continue
            try:
                os.replace(arrival.path, path)
            except OSError:
                path.unlink(missing_ok=True)
                raise
            return path
        raise FileExistsError(0, "there are too many files of that name")

    def _watchdog(self, sender: str, id: str) -> asyncio.TimerHandle:
        def give_up() -> None:
            arrival = self._arriving.get((sender, id))
            if arrival is not None:
                self._give_up(arrival, State.FAILED, f"nothing came for {IDLE_SECONDS:g} s")

        return asyncio.get_running_loop().call_later(IDLE_SECONDS, give_up)

    def _give_up(self, arrival: _Arrival, state: State, reason: str) -> str:
        """Remove an unfinished file; returns the reason."""
        self._forget(arrival)
        with contextlib.suppress(OSError):  # a full disk complains once more
            arrival.file.close()
        arrival.path.unlink(missing_ok=True)
        self._end(arrival.transfer, state, reason)
        return reason

    def _forget(self, arrival: _Arrival) -> None:
        arrival.timer.cancel()
        self._arriving.pop((arrival.transfer.person, arrival.transfer.id), None)

    def _end(self, transfer: Transfer, state: State, reason: str = "") -> None:
        transfer.state, transfer.reason = state, reason
        self._on_change(transfer)


def _names(name: str, most: int = 1000) -> Iterator[str]:
    """ "a.txt", "a (2).txt", "a (3).txt" ..."""
    stem, dot, suffix = name.rpartition(".")
    stem, suffix = (stem, dot + suffix) if dot else (name, "")
    yield name
    for number in range(2, most + 1):
        yield f"{stem} ({number}){suffix}"
