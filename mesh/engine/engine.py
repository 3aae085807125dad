"""The engine: the one place where discovery's hints, membership, links and patterns meet.

It takes its clock, transport and runner as arguments and imports neither sockets nor an event
loop, so the whole of it also runs in a simulation on virtual time. Everything here happens on one
thread, in turns. Waits end through ``Waiter``s; ``asyncio.Future`` is one.

Life: construct, ``serve`` and ``subscribe`` as wanted, ``open``, work, ``leave``, ``close``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from functools import partial
from random import Random
from typing import Any

from mesh.engine.absent import Absent
from mesh.engine.call_plane import CallPlane
from mesh.engine.conditions import Conditions
from mesh.engine.config import GRACE, EngineConfig
from mesh.engine.control_lane import ControlLane
from mesh.engine.core import Core
from mesh.engine.counting import kept_elsewhere
from mesh.engine.dialer import Dialer
from mesh.engine.draining import Draining
from mesh.engine.events import Watcher
from mesh.engine.exchange import Exchange
from mesh.engine.guard import Guard
from mesh.engine.inspection import Inspection
from mesh.engine.link_plane import LinkPlane
from mesh.engine.liveness import Liveness
from mesh.engine.local import LocalLane, LocalSession
from mesh.engine.lookup import find_session, with_ejected
from mesh.engine.moves import Moves
from mesh.engine.outcomes import Outcomes
from mesh.engine.own_interest import OwnInterest
from mesh.engine.ownership import Ownership
from mesh.engine.packing import check_headers, check_size
from mesh.engine.parcel_plane import ParcelPlane
from mesh.engine.pings import Pings
from mesh.engine.ports import Clock, Transport
from mesh.engine.pressure import Pressure
from mesh.engine.publisher import Publisher
from mesh.engine.rings import Rings
from mesh.engine.roster import Roster
from mesh.engine.sending import LinkSending
from mesh.engine.session import Session
from mesh.engine.stream_plane import StreamPlane
from mesh.engine.surveys import Surveys
from mesh.engine.waits import Waits, check_seconds
from mesh.engine.work_plane import WorkPlane
from mesh.links import PARCEL_BYTES
from mesh.membership import Membership, Peer, State
from mesh.wire import frames
from patterns.errors import ConfigError, NodeClosed
from patterns.groupcast import CastReceiver
from patterns.keys import Key, key_bytes
from patterns.names import group_subject
from patterns.port import CastPort, Runner, Waiter
from patterns.pubsub import PubSub
from patterns.rpc import Method, Providers, RpcClient, RpcServer
from patterns.subscription import Subscription

__all__ = ["Engine"]


class Engine:
    """One node, without its sockets. See ``mesh.AsyncNode`` for what the verbs promise.

    With a policy it is a ``GuardedEngine``, which makes its own kinds of the ``_new_...``.
    """

    guard: Guard | None = None

    def __init__(
        self,
        config: EngineConfig,
        *,
        clock: Clock,
        transport: Transport,
        runner: Runner,
        random: Random,
        wall_clock: Callable[[], datetime],
    ) -> None:
        self.config = config
        self._clock = clock
        self._runner = runner
        self.now, self.call_later = clock.now, clock.call_later
        self._core = core = Core(config, clock, transport, random, Membership(wall_clock))
        self._pack = core.codec.pack
        self._dialer = Dialer(core, self._is_linked)
        self._liveness = Liveness(core, self._on_change, lambda s: self._links.renew(s))
        self._local = LocalSession(core, wall_clock())
        self.sending = LinkSending(core, self._local)
        self.send = self.sending.send
        self.rings = Rings(core, self._local)
        self._waits = Waits(clock)
        self._opened_at: float | None = None
        self._calls_lost = 0
        self._is_leaving = False
        self._closed = False
        self._make_calls(Providers(random))
        self.ownership = Ownership(core, self._local, self.rings, self.server, wall_clock)
        self._make_messages()
        self._make_links()
        self._make_verbs()

    def _make_calls(self, providers: Providers) -> None:
        core = self._core
        self._providers = providers
        self._calls = CallPlane(core, self._local, self._liveness)
        self._local.lane = LocalLane(self._local, self._calls)
        self._calls.rings = self.rings
        self._calls.server = self.server = self._new_server(providers)
        self._calls.client = self._client = RpcClient(self._calls, providers, self._grace_left)
        self.streams = StreamPlane(core, self._local, self._client, self.server, self._runner)

    def _make_messages(self) -> None:
        core = self._core
        own = OwnInterest(core)
        own.changed = self._on_own_interest
        self.pubsub = self._new_pubsub(own)
        self._local.deliver = self.pubsub.deliver
        parts = core, self._local, self._liveness, self.rings, self.pubsub, self._grace_left
        self._work = WorkPlane(*parts, self._new_receiver)
        self._cast_lines = self._work.sender.groups
        self._cast = self._work.sender.cast

    def _make_links(self) -> None:
        core = self._core
        self._exchange = Exchange(core, self._dialer)
        self._control = ControlLane(core, self._dialer, self._liveness, self._exchange)
        self._parcels = ParcelPlane(
            core,
            self.pubsub.deliver,
            self._calls.on_parcel,
            self._calls.on_parcel_refused,
            lambda session, missed: self._control.gap(session, missed),
        )
        self._links = LinkPlane(
            core, self._dialer, self._liveness, self._control, self.pubsub.deliver, self._parcels
        )
        self.pings = Pings(core)
        self.absent = Absent(core)
        self.publisher = self._new_publisher()
        self.publish = self.publisher.publish
        self.call, self.cancel = self._client.call, self._client.cancel
        self._roster = Roster(
            core,
            self.pubsub,
            self._providers,
            self.rings,
            self._client,
            self.server,
            self.streams,
            self._work,
            self.pings,
            self.absent,
            self._on_members,
        )
        self._wire_control()
        self._local.released = self._waits.poke
        self._local.deliver_loss = self._control.on_loss = self.pubsub.lose

    def _make_verbs(self) -> None:
        core = self._core
        pressure = self.pressure = Pressure(self._local, self.pubsub.blocking, self._waits)
        self._conditions = Conditions(
            core, self._local, self._waits, self._control, self._dialer, self._work.sender, pressure
        )
        self._draining = Draining(
            core,
            self._control,
            self.server,
            self._work,
            self.pubsub,
            self._waits,
            self._conditions,
            self.ownership,
            self._update_own_services,
        )
        parts = self._client, self.server, self.pubsub, self._work, self._draining
        self.inspection = Inspection(core, self._local, *parts, self._liveness)
        self.surveys = Surveys(self, core, self._local, self._providers, self._conditions)
        self.moves = Moves(core, self._dialer, self._links, self._control, self._liveness)
        self.outcome = Outcomes(core, self._dialer).of
        # Of the transport's events, those that go straight on.
        self.on_refused = self._dialer.refused
        self.on_expelled = self.moves.expel
        self.on_stranger = partial(core.count, "strange_frames")
        self.on_work_ready = self._work.on_work_ready
        self.on_work_frame = self._work.on_work_frame
        self.on_hello = self._links.on_hello
        self.on_info = self._links.on_info
        self.on_bye = self._links.on_bye
        self.on_link_frame = self._links.on_link_frame
        self.on_request_frame = self._calls.on_request_frame
        self.on_reply_frame = self._calls.on_reply_frame
        self.is_member = self._roster.is_member
        self.unwatch = self._roster.unwatch

    def _new_server(self, providers: Providers) -> RpcServer:
        return RpcServer(self._calls, self._runner, providers)

    def _new_pubsub(self, own: OwnInterest) -> PubSub:
        return PubSub(self, self._local, own.plain, own.queue, own.blocking)

    def _new_receiver(self, port: CastPort) -> CastReceiver:
        return CastReceiver(port)

    def _new_publisher(self) -> Publisher:
        return Publisher(self.sending, self.pubsub, self.absent, self._work.sender)

    def _wire_control(self) -> None:
        control = self._control
        self._roster.attach(control, self._links.end)
        self.ownership.attach(control, self._waits.poke)
        control.readdressed = self._links.readdressed
        control.renewed = self._calls.on_link_renewed
        control.confirmed = self._waits.poke
        control.on_call_control = self._calls.on_control
        control.on_cast_control = self._work.on_control
        control.on_pong = self.pings.on_pong
        control.opened = self._on_opened
        control.opened_by_peer = self._on_opened_by_peer
        control.on_parcel_ack = self._parcels.on_ack
        control.on_stream_control = self.streams.on_control
        self._links.on_stream_frame = self.streams.on_frame
        self._links.lost = self._work.link_lost
        self._links.forgotten = self._work.forget
        self._core.membership.on_forgotten = self._links.forget_member
        self._liveness.on_pause = self._work.receiver.on_pause
        self._work.sender.settled = self._waits.poke
        self._local.deliver_control = control.on_entries

    def _on_opened(self, session: Session) -> None:
        self._parcels.opened(session)
        session.streams.open()
        self._work.link_opened(session)
        self.ownership.restate(session)

    def _on_opened_by_peer(self, session: Session) -> None:
        self._parcels.restart(session)
        self._work.link_opened_by_peer(session)
        self.ownership.restate(session)
        if session.is_joined:
            # Replies that came by the link may be lost with the old one.
            self._calls.on_link_renewed(session)

    def _on_members(self) -> None:
        self._waits.poke()
        self.ownership.poke()

    def _on_change(self, session: Session, state: State, reason: str) -> None:
        self._roster.change(session, state, reason)
        self._exchange.changed()

    # Life.

    def open(self) -> tuple[tuple[str, ...], int]:
        """Bind and begin; returns the link addresses and the request port to announce."""
        core = self._core
        self._conditions.opened_at = self._clock.now()
        addresses, rpc_port, work_port = core.transport.open(self)
        core.record.addresses, core.record.rpc_port = addresses, rpc_port
        core.record.work_port = work_port
        core.record.take_delta()
        self._work.link_opened(self._local)
        self._dialer.open(addresses, rpc_port)
        self._liveness.open()
        self._opened_at = self._clock.now()
        self._update_own_services()
        self.ownership.open(self._conditions)
        return addresses, rpc_port

    def hint(self, id: bytes | None, addresses: Iterable[str]) -> None:
        """Discovery says that a node of this mesh may be there."""
        self._dialer.hint(id, addresses)

    def drain(self, timeout: float, waiter: Waiter) -> None:
        """Take no new work, end what runs, have all others know; then ``leave`` loses nothing."""
        self._check_open()
        self._draining.drain(timeout, waiter)

    def leave(self, reason: str, waiter: Waiter) -> None:
        """Say goodbye; ``waiter`` ends when all alive peers have heard it, or soon anyway."""
        # From here on peers may have forgotten us: what is under way ends as what it is.
        self._is_leaving = True
        self._calls_lost = len(self._client)
        self._client.close()
        self._work.receiver.leave()
        self.streams.close()
        self.ownership.leave()
        told = self._control.say_goodbye(reason)
        self._core.flush()
        self._conditions.goodbye(told, waiter)

    def close(self) -> str:
        """End everything now; returns in one line what was lost, empty if nothing."""
        if self._closed:
            return ""
        self._closed = True
        waiting = sum(
            sum(batch.count for _, batch in s.outbox.queue.batches) + s.parcels.messages
            for s in self._core.sessions.values()
        )
        calls = self._calls_lost
        self._waits.close(NodeClosed("the node was closed during the wait"))
        self.pings.close()
        self.ownership.close()
        self.inspection.close()
        self._client.close()
        self.streams.close()
        self.server.close()
        casts = self._work.sender.close()
        self._work.receiver.close()
        self.pubsub.close()
        self._liveness.close()
        self._exchange.close()
        self._dialer.close()
        self._core.transport.close()
        self._roster.close()
        lost = [f"{waiting} messages not sent"] if waiting else []
        if calls:
            lost.append(f"{calls} calls in flight")
        if casts:
            lost.append(f"{casts} groupcasts not acknowledged")
        return ", ".join(lost)

    def _check_open(self) -> None:
        if self._closed or self._is_leaving:
            raise NodeClosed("this node is closed")

    @property
    def is_open(self) -> bool:
        return self._opened_at is not None and not self._closed

    # The port of publish/subscribe, and the events of the transport.

    def begin_drain(self) -> None:
        self._core.begin_drain()

    def end_drain(self) -> None:
        try:
            self._calls.serve_arrived()
            self._work.end_turn()
        finally:
            self._core.flush()

    # Verbs: publish/subscribe.

    def cast(self, group: str, data: Any) -> Peer | None:
        """A groupcast with nothing but data, to a member that has credit; None: it must wait."""
        try:
            line = self._cast_lines[group]
        except (KeyError, TypeError):
            return None
        entry = self._pack((line.pool, data))
        if len(entry) > PARCEL_BYTES:
            check_size(entry, self.sending.limit)
        peer: Peer | None = self._cast(line, entry)
        return peer

    def groupcast(
        self,
        group: str,
        data: Any,
        key: Key | None,
        headers: dict[str, str] | None,
        timeout: float,
        waiter: Waiter,
    ) -> None:
        """To exactly one member, within ``timeout`` seconds; ``waiter`` gets its peer."""
        pool = group_subject(group)
        form = None if key is None else key_bytes(key)
        fields: tuple[Any, ...] = (pool, data)
        if key is not None or headers is not None:
            fields = (pool, data, check_headers(headers or {}), 0, key)
        seconds = check_seconds("timeout", timeout)
        self._work.sender.wait(pool, self._work.pack(fields), form, seconds, waiter)

    def abandon(self, waiter: Waiter) -> None:
        """The caller of a groupcast has gone: it is not sent."""
        self._work.sender.abandon(waiter)

    def broadcast(self, group: str, data: Any, headers: dict[str, str] | None) -> int:
        """To every member of a group; returns how many."""
        targets = self.pubsub.group_route(group)
        entry, payload = self.sending.pack(group_subject(group), data, headers)
        self.send(frames.BROADCAST, targets, entry, payload)
        self.absent.count(group_subject(group))
        return len(targets)

    def send_to(
        self, peer: Peer | str, subject: str, data: Any, headers: dict[str, str] | None
    ) -> bool:
        """To one peer's subscribers of the subject; returns whether it has any."""
        session = self.session_of(peer)
        is_subscribed = self.pubsub.is_subscribed(session, subject)
        entry, payload = self.sending.pack(subject, data, headers)
        if is_subscribed:
            self.send(frames.SEND, session.alone, entry, payload)
        return is_subscribed

    def subscribe(self, subscription: Subscription) -> None:
        """Deliver to it from now on, and let everybody know at the end of the turn."""
        self._check_open()
        self._draining.check_may_subscribe(subscription)
        takes_work = subscription.handler is not None or subscription.group is not None
        if self.config.is_observer and takes_work:
            raise ConfigError("an observer takes no work; make the node without observer=True")
        record = self._core.record
        if subscription.group is not None:
            record.want_queue(subscription.group, subscription.pattern)
        elif not self.pubsub.wants(subscription.pattern):
            record.want(subscription.pattern)
        if not self.config.is_observer:
            self._work.receiver.add(subscription)
        self.pubsub.subscribe(subscription)

    def confirm(self, timeout: float, waiter: Waiter) -> None:
        """Until every alive peer has what this node wants; gives those that have not, in time."""
        self._control.send_record_changes()
        self._core.flush()
        self._conditions.confirm(timeout, waiter)

    def unsubscribe(self, subscription: Subscription) -> None:
        self._work.receiver.remove(subscription)
        self.pubsub.unsubscribe(subscription)

    # Verbs: calls.

    def serve(self, service: str, method: Method) -> None:
        """Serve a method, and let everybody know at the end of the turn."""
        self._check_open()
        self._draining.check_may_serve()
        if self.config.is_observer:
            raise ConfigError("an observer serves nothing; make the node without observer=True")
        self.server.add(service, method)
        self._core.record.serve(service, method.name)
        if self.is_open:
            self._control.record_changed()
            self._update_own_services()

    # Verbs: membership.

    @property
    def me(self) -> Peer:
        return self._local.peer

    def peers(self, *, all: bool = False) -> list[Peer]:
        return with_ejected(self._core.membership.peers(all=all), self._client.outliers.out())

    def session_of(self, peer: Peer | str) -> Session:
        """The session of a peer given as Peer or id. Raises PeerLost when it is gone."""
        session: Session = find_session(self._core, self._local, peer)
        return session

    def watch(self) -> Watcher:
        """A new reader of events, its snapshot first."""
        self._check_open()
        return self._roster.watch()

    def wait_for(
        self, name: str | None, group: str | None, count: int, timeout: float, waiter: Waiter
    ) -> None:
        """Until ``count`` alive nodes serve it, or are in the group; without both: see LISTEN."""
        self._conditions.wait_for(name, group, count, timeout, waiter)

    def flush(self, timeout: float, waiter: Waiter) -> None:
        """Until no message waits here for a peer that takes any, and no groupcast for its end."""
        self._core.flush()
        self._conditions.flush(timeout, waiter)

    @property
    def counters(self) -> dict[str, int]:
        """What was lost, refused or malformed so far; keys appear when they happen."""
        kept = kept_elsewhere(self._core, self._local, self.pubsub, self._client, self.server)
        return self._core.counters | kept

    # What happens.

    def _is_linked(self, id: bytes) -> bool:
        session = self._core.sessions.get(id)
        return session is not None and (session.dial is not None or session.has_left)

    def _grace_left(self) -> float:
        return GRACE - (self._clock.now() - (self._opened_at or 0.0))

    def _on_own_interest(self) -> None:
        if self.is_open:
            self._control.record_changed()
            self._waits.poke()
            self._work.sender.members_changed()

    def _update_own_services(self) -> None:
        self._roster.serves(self._local, self._core.record.services)
