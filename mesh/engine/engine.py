"""The engine: the one place where discovery's hints, membership, links and patterns meet.

It takes its clock, transport and runner as arguments and imports neither sockets nor an event
loop, so the whole of it also runs in a simulation on virtual time. Everything here happens on one
thread, in turns. Waits end through ``Waiter``s; ``asyncio.Future`` is one.

Life: construct, ``serve`` and ``subscribe`` as wanted, ``open``, work, ``leave``, ``close``.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from random import Random
from typing import Any

from mesh.engine.call_plane import CallPlane
from mesh.engine.config import GRACE, LISTEN, EngineConfig
from mesh.engine.control_lane import ControlLane
from mesh.engine.core import Core
from mesh.engine.dialer import Dialer
from mesh.engine.events import Watcher
from mesh.engine.exchange import Exchange
from mesh.engine.link_plane import LinkPlane
from mesh.engine.liveness import Liveness
from mesh.engine.local import LocalLane, LocalSession
from mesh.engine.ports import Clock, Dial, Lane, Transport
from mesh.engine.roster import Roster
from mesh.engine.session import Session
from mesh.engine.waits import NOT_YET, Waits
from mesh.membership import Membership, Peer, State
from mesh.wire import frames
from mesh.wire.codec import Codec
from patterns.errors import (
    BadPayload,
    ConfigError,
    NodeClosed,
    PayloadTooLarge,
    PeerLost,
    Timeout,
)
from patterns.names import check_name, group_subject
from patterns.port import Runner, Waiter
from patterns.pubsub import PubSub
from patterns.rpc import CallOptions, Method, Providers, RpcClient, RpcServer
from patterns.subscription import Subscription

__all__ = ["MAX_MESSAGE_BYTES", "Engine"]

logger = logging.getLogger("mesh")

MAX_MESSAGE_BYTES = frames.MAX_LINK_FRAME_BYTES - frames.LINK_HEADER_SIZE
"""A packed message must fit one frame of the link."""

GOODBYE_WAIT = 0.2
"""Seconds for peers to acknowledge our goodbye."""

POLL = 0.05
"""Seconds between looks at what no event tells of: a stall, the end of the listening time."""


class Engine:
    """One node, without its sockets. See ``mesh.AsyncNode`` for what the verbs promise."""

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
        self._core = core = Core(config, clock, transport, random, Membership(wall_clock))
        self._pack = core.codec.pack
        self._dialer = Dialer(core, self._is_linked)
        self._liveness = Liveness(core, self._on_change, self._on_silence)
        self._local = LocalSession(core, wall_clock())
        self._providers = Providers(random)
        self._calls = CallPlane(core, self._local, self._liveness)
        self._local.lane = LocalLane(self._local, self._calls)
        self._calls.server = self.server = RpcServer(self._calls, runner)
        self._calls.client = self._client = RpcClient(
            self._calls, self._providers, self._grace_left
        )
        self.pubsub = PubSub(self, self._local, self._on_own_interest)
        self._local.deliver = self.pubsub.deliver
        self._exchange = Exchange(core, self._dialer)
        self._control = ControlLane(core, self._dialer, self._liveness, self._exchange)
        self._links = LinkPlane(
            core, self._dialer, self._liveness, self._control, self.pubsub.deliver
        )
        self._waits = Waits(clock)
        self._roster = Roster(core, self.pubsub, self._providers, self._client, self._waits.poke)
        self._wire_control()
        self._opened_at: float | None = None
        self._calls_lost = 0
        self._closed = False
        self._is_poll_due = False

    def _wire_control(self) -> None:
        control = self._control
        self._roster.attach(control, self._links.end)
        control.renewed = self._calls.on_link_renewed
        control.confirmed = self._waits.poke
        control.on_call_control = self._calls.on_control

    def _on_silence(self, session: Session) -> None:
        self._links.renew(session)

    def _on_change(self, session: Session, state: State, reason: str) -> None:
        self._roster.change(session, state, reason)
        self._exchange.changed()

    # Life.

    def open(self) -> tuple[tuple[str, ...], int]:
        """Bind and begin; returns the link addresses and the request port to announce."""
        core = self._core
        addresses, rpc_port = core.transport.open(self)
        core.record.addresses, core.record.rpc_port = addresses, rpc_port
        core.record.take_delta()
        self._dialer.open(addresses, rpc_port)
        self._liveness.open()
        self._opened_at = self._clock.now()
        self._update_own_services()
        return addresses, rpc_port

    def hint(self, id: bytes | None, addresses: Iterable[str]) -> None:
        """Discovery says that a node of this mesh may be there."""
        self._dialer.hint(id, addresses)

    def leave(self, reason: str, waiter: Waiter) -> None:
        """Say goodbye; ``waiter`` ends when all alive peers have heard it, or soon anyway."""
        # From here on peers may have forgotten us: what is under way ends as what it is.
        self._calls_lost = len(self._client)
        self._client.close()
        told = self._control.say_goodbye(reason)
        self._core.flush()

        def check() -> Any:
            left = [s for s in told if not s.has_left and s.state in (None, State.ALIVE)]
            return NOT_YET if left else None

        self._waits.add(check, waiter, GOODBYE_WAIT, lambda: None)

    def close(self) -> str:
        """End everything now; returns in one line what was lost, empty if nothing."""
        if self._closed:
            return ""
        self._closed = True
        waiting = sum(
            sum(len(batch.entries) for batch in s.outbox.queue.batches)
            for s in self._core.sessions.values()
        )
        calls = self._calls_lost
        self._waits.close(NodeClosed("the node was closed during the wait"))
        self._client.close()
        self.server.close()
        self.pubsub.close()
        self._liveness.close()
        self._exchange.close()
        self._dialer.close()
        self._core.transport.close()
        self._roster.close()
        lost = [f"{waiting} messages not sent"] if waiting else []
        if calls:
            lost.append(f"{calls} calls in flight")
        return ", ".join(lost)

    def _check_open(self) -> None:
        if self._closed:
            raise NodeClosed("this node is closed")

    @property
    def is_open(self) -> bool:
        return self._opened_at is not None and not self._closed

    # The port of publish/subscribe, and the events of the transport.

    def now(self) -> float:
        return self._clock.now()

    def call_later(self, delay: float, callback: Callable[[], None]) -> Any:
        return self._clock.call_later(delay, callback)

    def send(self, kind: int, targets: Sequence[Any], entry: bytes) -> None:
        """Queue an entry for each target; it leaves at the end of the turn."""
        for session in targets:
            session.outbox.append(kind, entry)
            if not session.is_dirty:
                self._core.mark(session)

    def begin_drain(self) -> None:
        self._core.begin_drain()

    def end_drain(self) -> None:
        try:
            self._calls.serve_arrived()
        finally:
            self._core.flush()

    def on_hello(self, id: bytes, link: int) -> None:
        self._links.on_hello(id, link)

    def on_info(self, topic: bytes) -> None:
        self._links.on_info(topic)

    def on_bye(self, id: bytes, link: int) -> None:
        self._links.on_bye(id, link)

    def on_link_frame(self, dial: Dial, frame: bytes) -> None:
        self._links.on_link_frame(dial, frame)

    def on_request_frame(self, route: bytes, frame: bytes) -> None:
        self._calls.on_request_frame(route, frame)

    def on_reply_frame(self, lane: Lane, frame: bytes) -> None:
        self._calls.on_reply_frame(lane, frame)

    # Verbs: publish/subscribe.

    def pack_message(
        self,
        subject: str,
        data: Any,
        headers: dict[str, str] | None,
        codec: Codec | None = None,
    ) -> bytes:
        """The entry of a message; another thread than the engine's hands in its own codec."""
        fields = (subject, data) if headers is None else (subject, data, check_headers(headers))
        entry = (codec or self._core.codec).pack(fields)
        if len(entry) > MAX_MESSAGE_BYTES:
            raise too_large(len(entry))
        return entry

    def publish(self, subject: str, data: Any, headers: dict[str, str] | None) -> int:
        """To every node with a matching subscription; returns how many."""
        targets = self.pubsub.route(subject)
        if headers is None:
            # What nearly all publishes are, without the call in between.
            entry = self._pack((subject, data))
            if len(entry) > MAX_MESSAGE_BYTES:
                raise too_large(len(entry))
        else:
            entry = self.pack_message(subject, data, headers)
        if targets:
            self.send(frames.PUBLISH, targets, entry)
        return len(targets)

    def broadcast(self, group: str, data: Any, headers: dict[str, str] | None) -> int:
        """To every member of a group; returns how many."""
        targets = self.pubsub.group_route(group)
        entry = self.pack_message(group_subject(group), data, headers)
        if targets:
            self.send(frames.BROADCAST, targets, entry)
        return len(targets)

    def send_to(
        self, peer: Peer | str, subject: str, data: Any, headers: dict[str, str] | None
    ) -> bool:
        """To one peer's subscribers of the subject; returns whether it has any."""
        session = self.session_of(peer)
        is_subscribed = self.pubsub.is_subscribed(session, subject)
        entry = self.pack_message(subject, data, headers)
        if is_subscribed:
            self.send(frames.SEND, (session,), entry)
        return is_subscribed

    def subscribe(self, subscription: Subscription) -> None:
        """Deliver to it from now on, and let everybody know at the end of the turn."""
        self._check_open()
        if self.config.is_observer and subscription.handler is not None:
            raise ConfigError("an observer takes no work; make the node without observer=True")
        if not self.pubsub.wants(subscription.pattern):
            self._core.record.want(subscription.pattern)
        self.pubsub.subscribe(subscription)

    def confirm(self, timeout: float, waiter: Waiter) -> None:
        """Until every alive peer has what this node wants; gives those that have not, in time."""
        self._control.send_record_changes()
        self._core.flush()
        version = self._core.record.version
        self._waits.add(
            lambda: NOT_YET if self._control.unconfirmed(version) else [],
            waiter,
            timeout,
            lambda: [member.peer for member in self._control.unconfirmed(version)],
        )

    def unsubscribe(self, subscription: Subscription) -> None:
        self.pubsub.unsubscribe(subscription)

    # Verbs: calls.

    def serve(self, service: str, method: Method) -> None:
        """Serve a method, and let everybody know at the end of the turn."""
        self._check_open()
        if self.config.is_observer:
            raise ConfigError("an observer serves nothing; make the node without observer=True")
        self.server.add(service, method)
        self._core.record.serve(service, method.name)
        if self.is_open:
            self._control.record_changed()
            self._update_own_services()

    def call(
        self,
        method: str,
        args: Sequence[Any],
        kwargs: dict[str, Any],
        options: CallOptions,
        waiter: Waiter,
    ) -> int:
        return self._client.call(method, args, kwargs, options, waiter)

    def cancel(self, call_id: int) -> None:
        self._client.cancel(call_id)

    # Verbs: membership.

    @property
    def me(self) -> Peer:
        return self._local.peer

    def peers(self, *, all: bool = False) -> list[Peer]:
        return self._core.membership.peers(all=all)

    def session_of(self, peer: Peer | str) -> Session:
        """The session of a peer given as Peer or id. Raises PeerLost when it is gone."""
        text = peer.id if isinstance(peer, Peer) else peer
        if not isinstance(text, str) or len(text) != 32:
            raise ConfigError(f"a peer is named by a Peer or its id of 32 hex digits, not {peer!r}")
        try:
            id = bytes.fromhex(text)
        except ValueError:
            raise ConfigError(f"{text!r} is no peer id: 32 hex digits are needed") from None
        if id == self._core.id:
            return self._local
        session = self._core.sessions.get(id)
        if session is None or not session.is_joined:
            state = m.state if (m := self._core.membership.get(id)) is not None else "unknown"
            raise PeerLost(f"peer {text[:8]} is {state}")
        return session

    def watch(self) -> Watcher:
        """A new reader of events, its snapshot first."""
        self._check_open()
        return self._roster.watch()

    def unwatch(self, watcher: Watcher) -> None:
        self._roster.unwatch(watcher)

    def wait_for(
        self, name: str | None, group: str | None, count: int, timeout: float, waiter: Waiter
    ) -> None:
        """Until ``count`` alive nodes serve it, or are in the group; without both: see LISTEN."""
        if name is None and group is None:
            self._wait_until_settled(min(timeout, 1.0), waiter)
            return
        if name is not None:
            check_name("service", name)
        what = f"the service {name!r}" if name is not None else f"the group {group!r}"

        def found() -> list[Peer]:
            return [
                peer
                for peer in (self.me, *self.peers())
                if peer.state == State.ALIVE
                and (name is None or name in peer.services)
                and (group is None or group in peer.groups)
            ]

        def check() -> Any:
            peers = found()
            return peers if len(peers) >= count else NOT_YET

        def on_timeout() -> Timeout:
            here = ", ".join(str(peer) for peer in found()) or "none"
            return Timeout(f"{count} nodes with {what} were not here in {timeout:g} s; now: {here}")

        self._waits.add(check, waiter, timeout, on_timeout)

    def _wait_until_settled(self, timeout: float, waiter: Waiter) -> None:
        opened_at = self._opened_at or 0.0

        def check() -> Any:
            if self._clock.now() - opened_at < LISTEN or not self._is_settled():
                self._poll()
                return NOT_YET
            return self.peers()

        self._waits.add(check, waiter, timeout, self.peers)

    def _is_settled(self) -> bool:
        return self._dialer.is_settled and all(
            s.is_joined or s.has_left or s.dial is None for s in self._core.sessions.values()
        )

    def flush(self, timeout: float, waiter: Waiter) -> None:
        """Until no message waits here for a peer that takes any."""
        self._core.flush()

        def waiting() -> list[Session]:
            now = self._clock.now()
            sessions = (self._local, *self._core.sessions.values())
            return [s for s in sessions if s.outbox.is_waiting and not s.outbox.is_stalled(now)]

        def check() -> Any:
            if not waiting():
                return None
            self._poll()
            return NOT_YET

        def on_timeout() -> Timeout:
            what = ", ".join(f"{s.outbox.queue.size} bytes for {s.peer}" for s in waiting())
            return Timeout(f"not everything was sent in {timeout:g} s: {what}")

        self._waits.add(check, waiter, timeout, on_timeout)

    @property
    def counters(self) -> dict[str, int]:
        """What was lost, refused or malformed so far; keys appear when they happen."""
        sessions = self._core.sessions.values()
        kept_elsewhere = {
            "dropped_by_slow_subscriptions": self.pubsub.dropped,
            "dropped_for_slow_peers": sum(s.outbox.dropped for s in (self._local, *sessions)),
            "malformed_messages": self.pubsub.malformed,
            "late_replies": self._client.late_replies,
            "expired_calls": self.server.expired,
        }
        return self._core.counters | {name: n for name, n in kept_elsewhere.items() if n}

    @property
    def refusals(self) -> dict[str, tuple[str, str, float]]:
        """Address to (code, text, when) of nodes that refused a link."""
        return dict(self._dialer.refusals)

    # What happens.

    def _is_linked(self, id: bytes) -> bool:
        session = self._core.sessions.get(id)
        return session is not None and (session.dial is not None or session.has_left)

    def _grace_left(self) -> float:
        return GRACE - (self._clock.now() - (self._opened_at or 0.0))

    def _on_own_interest(self, pattern: str, is_wanted: bool) -> None:
        if not is_wanted:
            self._core.record.unwant(pattern)
        if self.is_open:
            self._control.record_changed()
            self._waits.poke()

    def _update_own_services(self) -> None:
        self._roster.serves(self._local, self._core.record.services)

    def _poll(self) -> None:
        if not self._is_poll_due:
            self._is_poll_due = True
            self._clock.call_later(POLL, self._on_poll)

    def _on_poll(self) -> None:
        self._is_poll_due = False
        self._waits.poke()


def check_headers(headers: object) -> dict[str, str]:
    """Headers as they may travel. Raises BadPayload."""
    if not isinstance(headers, dict) or not all(
        isinstance(key, str) and isinstance(value, str) for key, value in headers.items()
    ):
        raise BadPayload("headers must be a dict of str to str")
    return headers


def too_large(size: int) -> PayloadTooLarge:
    """The error for a message above the link's limit."""
    return PayloadTooLarge(
        f"{size} bytes packed; a message carries at most {MAX_MESSAGE_BYTES} "
        f"(a call {frames.MAX_DATA_FRAME_BYTES})"
    )
