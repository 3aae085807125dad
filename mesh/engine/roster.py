"""What a change of a member means: to the patterns, to waits, and to those who watch.

Order matters and is the same everywhere: first the tables that routing reads, then the calls that
were under way, then the event. So whoever hears of a change already finds it in force.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from mesh.engine import events as e
from mesh.engine.absent import Absent
from mesh.engine.control_lane import ControlLane
from mesh.engine.core import Core
from mesh.engine.pings import Pings
from mesh.engine.rings import Rings
from mesh.engine.session import Session
from mesh.engine.stream_plane import StreamPlane
from mesh.engine.work_plane import WorkPlane
from mesh.logs import get_logger
from mesh.membership import State
from patterns.port import Handle
from patterns.pubsub import PubSub
from patterns.rpc import Providers, RpcClient, RpcServer

__all__ = ["Roster"]

logger = get_logger("mesh.members")


class Roster:
    """Moves members between states and acts on it.

    ``end(session)`` gives back what the links held for a peer that is gone; ``changed()`` is
    called after anything that a wait could be for.
    """

    def __init__(
        self,
        core: Core,
        pubsub: PubSub,
        providers: Providers,
        rings: Rings,
        client: RpcClient,
        server: RpcServer,
        streams: StreamPlane,
        work: WorkPlane,
        pings: Pings,
        absent: Absent,
        changed: Callable[[], None],
    ) -> None:
        self._core = core
        self._pubsub = pubsub
        self._providers = providers
        self._rings = rings
        self._client = client
        self._server = server
        self._streams = streams
        self._work = work
        self._pings = pings
        self._absent = absent
        self._changed = changed
        self._watchers: dict[e.Watcher, None] = {}
        self.end: Callable[[Session], None]

    def attach(self, control: ControlLane, end: Callable[[Session], None]) -> None:
        """Be told of joins, updates, goodbyes and gaps."""
        control.joined = self.joined
        control.updated = self.updated
        control.left = lambda session, reason: self.change(session, State.LEFT, reason)
        control.gap = self.gap
        self.end = end

    def is_member(self, id: bytes) -> bool:
        """Whether a node is one now."""
        session = self._core.sessions.get(id)
        return session is not None and session.is_joined

    # Watching.

    def watch(self) -> e.Watcher:
        """A new reader of events, its snapshot first."""
        watcher = e.Watcher(
            [e.PeerJoined(peer, "known already") for peer in self._core.membership.peers()]
        )
        self._watchers[watcher] = None
        return watcher

    def unwatch(self, watcher: e.Watcher) -> None:
        self._watchers.pop(watcher, None)

    def close(self) -> None:
        """No more events come."""
        for watcher in self._watchers:
            watcher.close()

    # Changes.

    def serves(self, handle: Handle, services: Mapping[str, Sequence[str]]) -> None:
        """The own node serves these now."""
        self._providers.update(handle, dict(services), True)
        self._providers_changed()

    def _providers_changed(self) -> None:
        self._client.on_providers_changed()
        self._changed()

    def joined(self, session: Session) -> None:
        record = session.record
        if record is None:
            return
        self._rings.invalidate()
        self._absent.returned(session)
        for pattern in record.interest:
            self._pubsub.add_interest(session, pattern)
        self._pubsub.queues.update(session, {} if record.is_observer else record.queues)
        self._pubsub.blocking.update(session, record.blocks)
        self._providers.update(session, record.services, True)
        self._work.sender.members_changed()
        self._emit(e.PeerJoined, session, "linked both ways")
        self._providers_changed()

    def updated(self, session: Session, added: list[str], removed: list[str]) -> None:
        self._rings.invalidate()
        for pattern in removed:
            self._pubsub.remove_interest(session, pattern)
        for pattern in added:
            self._pubsub.add_interest(session, pattern)
        record = session.record
        if record is not None:
            self._pubsub.queues.update(session, {} if record.is_observer else record.queues)
            self._pubsub.blocking.update(session, record.blocks)
            is_healthy = session.state is State.ALIVE
            self._providers.update(session, record.services, is_healthy)
        self._work.sender.members_changed()
        self._emit(e.PeerUpdated, session, "its record changed")
        self._providers_changed()

    def gap(self, session: Session, missed: int | None) -> None:
        if missed != 0:
            self._core.count("gaps")
        if missed:
            self._core.count("messages_missed", missed)
        if session.member is not None:
            self._tell(e.Gap(session.peer, "messages were lost on the way here", missed))

    def change(self, session: Session, state: State, reason: str) -> None:
        """Move a member to another state and act on it."""
        if self._core.membership.change(session.id, state) is None:
            return
        if state in (State.FAILED, State.LEFT):
            self._end(session, state, reason)
            return
        record = session.record
        if record is not None:
            self._providers.update(session, record.services, state is State.ALIVE)
        self._work.sender.health_changed(session, state is State.ALIVE)
        if state is State.SUSPECT:
            self._emit(e.PeerSuspected, session, reason)
            self._client.on_suspect(session)
        elif state is State.UNRESPONSIVE:
            self._emit(e.PeerUnresponsive, session, reason)
        else:
            self._emit(e.PeerRecovered, session, reason)
        self._providers_changed()

    def _end(self, session: Session, state: State, reason: str) -> None:
        record = session.record
        self._rings.invalidate()
        self._providers.remove(session)
        if record is not None:
            for pattern in record.interest:
                self._pubsub.remove_interest(session, pattern)
        self._pubsub.queues.update(session, {})
        self._pubsub.blocking.update(session, False)
        if state is State.FAILED:
            self._absent.add(session, session.may_return)
            session.is_doubted = session.inbox.received > 0
        self.end(session)
        self._work.gone(session)
        lost = f"the peer {session.peer.name} has {state}: {reason}"
        self._client.on_lost(session, lost)
        self._server.caller_gone(session.id)
        self._streams.lost(session, lost)
        self._pings.lost(session, lost)
        self._emit(e.PeerFailed if state is State.FAILED else e.PeerLeft, session, reason)
        if session.is_doubted:
            self.gap(session, None)
        self._providers_changed()

    def _emit(self, kind: type[e.Event], session: Session, reason: str) -> None:
        logger.info("%s %s: %s", kind.__name__, session.peer, reason)
        if session.member is not None and not session.member.record.is_observer:
            self._tell(kind(session.peer, reason))

    def _tell(self, event: e.Event) -> None:
        for watcher in list(self._watchers):
            watcher.put(event)
