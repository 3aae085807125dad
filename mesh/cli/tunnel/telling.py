"""What is told of the connections of a tunnel.

For programs each event is a JSON object on a line of stdout. People get what listens, and on stderr
a line for each connection that failed: of those that go well there may be thousands.
"""

from __future__ import annotations

import contextlib
from datetime import datetime
from time import monotonic
from typing import Any

import mesh
from mesh.cli import errors
from mesh.cli.output import print_json, print_text
from mesh.cli.tunnel.carrying import Carried

__all__ = ["Connection", "Teller"]


class Teller:
    """Prints events; ``service`` is the name of the stream."""

    def __init__(self, service: str, as_json: bool) -> None:
        self.service = service
        self._as_json = as_json

    def tell(self, event: str, text: str | None = None, **fields: Any) -> None:
        """``fields`` as JSON, or ``text`` for people."""
        with contextlib.suppress(BrokenPipeError):  # ``run_until_signal`` looks for that
            if self._as_json:
                now = datetime.now().astimezone()
                document = {"time": now, "event": event, "service": self.service}
                print_json(document | fields, is_line=True)
            elif text is not None:
                print_text(text)

    def failed(self, error: Exception, where: str, **fields: Any) -> None:
        """One line on stderr, in any case."""
        text = (errors.plain if isinstance(error, mesh.MeshError) else errors.one_line)(error)
        self.tell("failed", **fields, error=text)
        errors.note(f"{where}: {text}")


class Connection:
    """One of them, from its beginning to its end."""

    def __init__(self, teller: Teller, number: int, client: str | None) -> None:
        self._teller = teller
        self._number = number
        self._client = client
        self._peer: mesh.Peer | None = None
        self._began = monotonic()
        self.carried = Carried()

    def opened(self, peer: mesh.Peer) -> None:
        """There is a stream with this peer for it."""
        self._peer = peer
        self._teller.tell("opened", **self._fields())

    def closed(self) -> None:
        """It has ended well, both ways."""
        self._teller.tell("closed", **self._fields(), **self._sums())

    def failed(self, error: Exception) -> None:
        """It never came to be, or broke."""
        where = self._client if self._client is not None else f"from {self._peer}"
        line = f"connection {self._number}, {where}"
        self._teller.failed(error, line, **self._fields(), **self._sums())

    def _fields(self) -> dict[str, Any]:
        peer = self._peer
        return {
            "connection": self._number,
            "client": self._client,
            "peer": None if peer is None else {"id": peer.id, "name": peer.name},
        }

    def _sums(self) -> dict[str, Any]:
        carried = self.carried
        seconds = round(monotonic() - self._began, 6)
        return {"received": carried.received, "sent": carried.sent, "seconds": seconds}
