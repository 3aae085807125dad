"""``meshctl send``: one file to one who receives, through cuts of the connection and restarts."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep
from typing import Any, BinaryIO

import click

import mesh
from mesh.cli.durations import spelled
from mesh.cli.peer_names import matching, the_one
from mesh.cli.transfer import CHUNK_BYTES, SERVICE, hash_of

__all__ = ["RETRY_EVERY", "Sender", "Sent"]

RETRY_EVERY = 0.5
"""Seconds between looks whether who was lost is back."""


@dataclass(frozen=True)
class Sent:
    """How it ended."""

    peer: mesh.Peer
    saved: str
    """Its name there."""
    size: int
    carried: int
    """Bytes that went over the network in this run, those that were lost on the way included."""
    cuts: int
    digest: str


class Sender:
    """Sends ``path``; ``progress`` is told how far it is, ``note`` of cuts.

    :param timeout: seconds for an answer, and for others to be found
    :param patience: seconds for the receiver to come back after a cut, each time
    """

    def __init__(
        self,
        node: mesh.Node,
        path: Path,
        wanted: str,
        *,
        timeout: float,
        patience: float,
        progress: Callable[[int], None],
        note: Callable[[str], None],
    ) -> None:
        self._node = node
        self._path = path
        self._wanted = wanted
        self._timeout = timeout
        self._patience = patience
        self._progress = progress
        self._note = note
        self._carried = 0
        self._cuts = 0
        self._has_begun = False
        self._until = 0.0
        """When the patience is at its end; each byte that is carried renews it."""

    def run(self) -> Sent:
        """Raises ClickException when it cannot be sent, is refused or arrives damaged."""
        peer = self._find()
        while True:
            before = self._carried
            try:
                return self._send(peer)
            except (mesh.PeerLost, mesh.StreamAborted) as error:
                if not self._has_begun:
                    raise
                if self._carried > before or not self._until:
                    self._cuts += 1
                    self._until = monotonic() + self._patience
                    self._note(f"cut off: {error}; waiting for {peer.name} to come back")
                peer = self._wait_for(peer)

    # Whom.

    def _receivers(self) -> list[mesh.Peer]:
        return [peer for peer in self._node.peers() if SERVICE in peer.services]

    def _find(self) -> mesh.Peer:
        self._node.wait_for(timeout=self._timeout)
        receivers = self._receivers()
        if not matching(receivers, self._wanted):
            others = matching(self._node.peers(), self._wanted)
            here = f"{others[0]} is here, but does not receive" if others else "nobody is here"
            raise click.ClickException(
                f"{self._wanted!r}: {here}; run 'meshctl receive' there first"
            )
        advice = "'meshctl peers' lists them"
        return the_one(receivers, self._wanted, among="receivers", advice=advice)

    def _wait_for(self, lost: mesh.Peer) -> mesh.Peer:
        """The same node, or who has its name now: one that was started again has another id."""
        while monotonic() < self._until:
            sleep(RETRY_EVERY)
            alike = [p for p in self._receivers() if p.name == lost.name and p.state == "alive"]
            same = [peer for peer in alike if peer.id == lost.id] or alike
            if len(same) == 1:
                return same[0]
        raise click.ClickException(
            f"{lost.name} did not come back within {spelled(self._patience)}; what it has is kept "
            "there, and the same command goes on with that"
        )

    # What.

    def _send(self, peer: mesh.Peer) -> Sent:
        with self._path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            # A name that is no text goes as well as it can.
            name = os.fsencode(self._path.name).decode(errors="replace")
            headers = {"name": name, "size": str(size)}
            try:
                stream = self._node.open_stream(
                    SERVICE, headers=headers, peer=peer, timeout=self._timeout
                )
            except (mesh.CallTimeout, mesh.NoProvider, mesh.Overloaded) as error:
                if self._has_begun:
                    raise mesh.StreamAborted(str(error)) from error
                raise
            with stream:
                digest: str | None = None
                try:
                    digest = self._push(stream, file, size)
                    stream.receive()
                except (mesh.EndOfStream, mesh.StreamAborted):
                    if stream.is_broken:
                        raise
                trailers = self._verdict(stream)
                return self._judge(peer, trailers, digest, size)

    def _push(self, stream: mesh.Stream, file: BinaryIO, size: int) -> str:
        """All that is missing there; returns the digest of all of it."""
        offset, theirs = _offset_in(stream.receive())
        self._has_begun = True
        digest, done = hash_of(file, min(offset, size))
        if done != offset or digest.hexdigest() != theirs:
            file.seek(0)
            digest, done = hash_of(file, 0)
        stream.send({"from": done})
        self._progress(done)
        while done < size:
            data = file.read(min(CHUNK_BYTES, size - done))
            if not data:
                stream.abort("the file became shorter while it was sent")
                raise click.ClickException(f"{self._path} became shorter while it was sent")
            digest.update(data)
            stream.write(data)
            done += len(data)
            self._carried += len(data)
            self._progress(done)
        hexdigest: str = digest.hexdigest()
        stream.send({"digest": hexdigest})
        return hexdigest

    def _verdict(self, stream: mesh.Stream) -> dict[str, str]:
        """What the receiver says at its end, which may be behind a message that nobody read."""
        try:
            while True:
                stream.receive(self._timeout)
        except mesh.EndOfStream:
            return stream.trailers or {}

    def _judge(
        self, peer: mesh.Peer, trailers: dict[str, str], digest: str | None, size: int
    ) -> Sent:
        refused, saved = trailers.get("refused"), trailers.get("saved")
        if "busy" in trailers and self._has_begun:
            raise mesh.StreamAborted(f"{peer} says: {refused}")
        if refused is not None or saved is None:
            advice = "; try again in some seconds" if "busy" in trailers else ""
            raise click.ClickException(
                f"{peer} did not take it: {refused or 'it did not say why'}{advice}"
            )
        if digest is None:
            raise click.ClickException(f"{peer} ended before it had all of it")
        if trailers.get("digest") != digest:
            raise click.ClickException(
                f"{peer} has other bytes than were sent: SHA-256 {trailers.get('digest')} there, "
                f"{digest} here"
            )
        return Sent(peer, saved, size, self._carried, self._cuts, digest)


def _offset_in(answer: Any) -> tuple[int, str]:
    fields = answer if isinstance(answer, dict) else {}
    offset, digest = fields.get("offset"), fields.get("digest")
    if type(offset) is not int or type(digest) is not str or offset < 0:
        raise click.ClickException(f"its answer makes no sense: {str(answer)[:80]!r}")
    return offset, digest
