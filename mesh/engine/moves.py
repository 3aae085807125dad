"""When addresses change, the network comes back, or a node is put out: links are made anew, or end.

Connections from an address that is gone are dead, and nobody says so: the other side notices in
seconds, this side perhaps never. So whoever moved dials everybody again. The hello of a new dial
comes with the new addresses, by which the others dial back; each side keeps the old connection
until the new one has answered (``LinkPlane.renew``).
"""

from __future__ import annotations

from collections.abc import Sequence

from mesh.engine.control_lane import ControlLane
from mesh.engine.core import Core
from mesh.engine.dialer import Dialer
from mesh.engine.link_plane import LinkPlane
from mesh.engine.liveness import Liveness

__all__ = ["Moves"]


class Moves:
    """What the world outside tells the engine of the machine's network, and of keys."""

    def __init__(
        self,
        core: Core,
        dialer: Dialer,
        links: LinkPlane,
        control: ControlLane,
        liveness: Liveness,
    ) -> None:
        self._core = core
        self._dialer = dialer
        self._links = links
        self._control = control
        self._liveness = liveness

    def readdress(self, addresses: Sequence[str]) -> None:
        """The node can be dialled at ``addresses`` from now on (``host:port``)."""
        record = self._core.record
        before = record.addresses
        if tuple(addresses) == before:
            return
        record.readdress(addresses)
        self._dialer.open(addresses, record.rpc_port)
        self._control.record_changed()
        if set(before) - set(addresses):
            for session in self._core.sessions.values():
                session.reconnect_lanes()

    def network_is_back(self) -> None:
        """A cable was plugged in, the machine woke up: try everybody now, linked or not."""
        self._dialer.hurry()
        for session in list(self._core.sessions.values()):
            if session.is_joined and not session.has_left:
                self._links.renew(session)

    def expel(self, id: bytes, reason: str) -> None:
        """That node is no member any more, by its keys."""
        session = self._core.sessions.get(id)
        if session is None:
            return
        if session.is_joined:
            self._liveness.fail(session, reason)
        else:
            self._links.end(session)
        # Its connection may stay up; nothing goes there, and nothing of it comes in.
        session.links.clear()
        session.link, session.is_accepted = None, False
