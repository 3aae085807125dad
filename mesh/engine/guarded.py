"""``GuardedEngine``: the engine of a node with a policy, which asks its guard before it acts.

Each part here is one of the engine's with a question before what it does, at the one place through
which all of that kind goes: so what a peer may not do is refused whatever the peer believes, and
what this node may not do is refused before anything leaves. An engine without a policy is an
``Engine``, and knows nothing of this.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from mesh.engine.config import EngineConfig
from mesh.engine.engine import Engine
from mesh.engine.guard import Guard
from mesh.engine.own_interest import OwnInterest
from mesh.engine.publisher import Publisher
from mesh.engine.session import Session
from mesh.membership import Peer
from patterns import messages as m
from patterns.errors import ConfigError
from patterns.groupcast import CastReceiver
from patterns.groupcast import casts as k
from patterns.groupcast.sources import Source
from patterns.keys import Key
from patterns.names import (
    MAX_NAME_CHARS,
    check_subject,
    group_of,
    group_subject,
    queue_of,
    split_method,
)
from patterns.port import CastPort, Waiter
from patterns.pubsub import PubSub
from patterns.rpc import CallOptions, Providers, RpcServer
from patterns.subscription import Subscription

__all__ = ["GuardedEngine", "engine_for"]

MAX_METHOD_CHARS = 2 * MAX_NAME_CHARS + 1
"""Nobody serves a method with a longer name."""


def engine_for(config: EngineConfig) -> type[Engine]:
    """The kind of engine that a node needs."""
    return Engine if config.policy is None else GuardedEngine


class GuardedEngine(Engine):
    """An engine whose ``config`` has a policy."""

    guard: Guard

    def _make_calls(self, providers: Providers) -> None:
        if self.config.policy is None:
            raise ConfigError("an engine without a policy is an Engine")
        self.guard = Guard(self._core, self.config.policy)
        super()._make_calls(providers)

    def _make_links(self) -> None:
        super()._make_links()
        self._control.admit = self.guard.admit
        self.call = self._call

    def _new_server(self, providers: Providers) -> RpcServer:
        return GuardedServer(self.guard, self._calls, self._runner, providers)

    def _new_pubsub(self, own: OwnInterest) -> PubSub:
        return GuardedPubSub(self.guard, self, self._local, own.plain, own.queue, own.blocking)

    def _new_receiver(self, port: CastPort) -> CastReceiver:
        return GuardedReceiver(self.guard, port)

    def _new_publisher(self) -> Publisher:
        return GuardedPublisher(
            self.guard, self.sending, self.pubsub, self.absent, self._work.sender
        )

    def close(self) -> str:
        lost = super().close()
        self.guard.close()
        return lost

    # What this node may not do is refused here, at once.

    def _call(
        self,
        method: str,
        args: Sequence[Any],
        kwargs: dict[str, Any],
        options: CallOptions,
        waiter: Waiter,
        until: float | None = None,
    ) -> int:
        split_method(method)
        self.guard.check_own("call", method)
        return self._client.call(method, args, kwargs, options, waiter, until)

    # ``cast`` needs no check: it finds a line only where ``groupcast`` was let through before.

    def groupcast(
        self,
        group: str,
        data: Any,
        key: Key | None,
        headers: dict[str, str] | None,
        timeout: float,
        waiter: Waiter,
    ) -> None:
        self._check_group("groupcast", group)
        super().groupcast(group, data, key, headers, timeout, waiter)

    def broadcast(self, group: str, data: Any, headers: dict[str, str] | None) -> int:
        self._check_group("broadcast", group)
        return super().broadcast(group, data, headers)

    def send_to(
        self, peer: Peer | str, subject: str, data: Any, headers: dict[str, str] | None
    ) -> bool:
        self.guard.check_own("publish", check_subject(subject))
        return super().send_to(peer, subject, data, headers)

    def subscribe(self, subscription: Subscription) -> None:
        self._check_open()
        self.guard.check_listening(subscription.pattern)
        super().subscribe(subscription)

    def _check_group(self, right: str, group: str) -> None:
        group_subject(group)
        self.guard.check_own(right, group)


class GuardedPublisher(Publisher):
    """Publishes what this node may."""

    def __init__(self, guard: Guard, *parts: Any) -> None:
        super().__init__(*parts)
        self._guard = guard

    def publish(self, subject: str, data: Any, headers: dict[str, str] | None) -> int:
        """Raises AccessDenied, too."""
        self._guard.check_own("publish", check_subject(subject))
        return super().publish(subject, data, headers)


class GuardedServer(RpcServer):
    """Serves those who may call."""

    def __init__(self, guard: Guard, *parts: Any) -> None:
        super().__init__(*parts)
        self._guard = guard

    def on_requests(
        self, caller: Any, route: Any, entries: Iterable[Any], arrived_at: float | None = None
    ) -> int:
        admitted = [entry for entry in entries if not self._is_denied(caller, route, entry)]
        return super().on_requests(caller, route, admitted, arrived_at)

    def _is_denied(self, caller: Session, route: Any, entry: Any) -> bool:
        """Whether a request was answered, since its caller may not call that."""
        try:
            call_id, method = entry[0], entry[1]
        except (TypeError, IndexError, KeyError):
            return False  # malformed, which is counted behind
        if type(call_id) is not int or type(method) is not str or len(method) > MAX_METHOD_CHARS:
            return False
        denial = self._guard.denial(caller, "call", method)
        if denial is None:
            return False
        reply = [call_id, m.STATUS_DENIED, str(denial), denial.rule]
        self._port.send_reply(route, self._port.pack(reply))
        return True


class GuardedPubSub(PubSub):
    """Delivers what its sender may publish, or broadcast."""

    def __init__(self, guard: Guard, *parts: Any) -> None:
        super().__init__(*parts)
        self._guard = guard

    def deliver(
        self,
        kind: int,
        sender: Any,
        entries: Sequence[Any],
        missed: int,
        size: int,
        release: Callable[[int], None],
    ) -> None:
        if sender is not self._me:
            entries = self._admitted(sender, entries)
        super().deliver(kind, sender, entries, missed, size, release)

    def _admitted(self, sender: Session, entries: Sequence[Any]) -> list[Any]:
        """By the subject, whatever kind of frame it came in: a group's is a group's."""
        admitted = []
        last: Any = None
        for entry in entries:
            try:
                subject = entry[0]
            except (TypeError, IndexError, KeyError):
                subject = None  # malformed, which is counted behind
            if subject == last or self._guard.may_publish(sender, subject):
                last = subject
                admitted.append(entry)
        return admitted

    def lose(self, sender: Any, subject: str, count: int) -> None:
        if sender is self._me or self._guard.may_publish(sender, subject):
            super().lose(sender, subject, count)


class GuardedReceiver(CastReceiver):
    """Takes work of those who may give it: a group's by the group, a queue group's copies by what
    they were published to."""

    def __init__(self, guard: Guard, port: CastPort) -> None:
        super().__init__(port)
        self._guard = guard

    def on_want(self, handle: Any, name: str, wish: int, next_number: int, era: int) -> None:
        group = group_of(name)
        if group is not None and handle is not self._port.local:
            denial = self._guard.denial(handle, "groupcast", group)
            if denial is not None:
                # It would wait for credit that never comes.
                self._port.tell(handle, k.DENY, name, denial.rule, str(denial))
                return
        super().on_want(handle, name, wish, next_number, era)

    def take(self, source: Source, first: int, entries: Sequence[Any]) -> None:
        if source.is_own:
            super().take(source, first, entries)
            return
        start = 0
        for index, entry in enumerate(entries):
            if not self._may_give(source.handle, entry):
                super().take(source, first + start, entries[start:index])
                source.give_back(k.BACK_DENIED, (first + index,))
                start = index + 1
        super().take(source, first + start, entries[start:])

    def _may_give(self, sender: Any, entry: Any) -> bool:
        """Credit for one pool does not make another's work welcome."""
        if not isinstance(entry, list) or not entry or not isinstance(entry[0], str):
            return True  # malformed, which is told behind
        group = group_of(entry[0])
        if group is not None:
            return self._guard.may(sender, "groupcast", group)
        if queue_of(entry[0]) is not None and len(entry) > 5:
            return self._guard.may_publish(sender, entry[5])
        return True
