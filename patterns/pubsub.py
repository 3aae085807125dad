"""Publish/subscribe and groups: from a subject to nodes, and from a frame to subscriptions.

Rules:

* The publisher filters: ``interest`` maps patterns to the nodes that want them, the own one
  included, and a publish is queued only for those. No round trip.
* A group is a reserved subject (``patterns.names.group_subject``), so one interest map, one
  matcher and one delivery serve publish, broadcast and send.
* The own node is a target like any other: same order, same bounds, same decoded copies.
* Whole frames are delivered at once. The loop over their entries is the hottest in the library.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from patterns import messages as m
from patterns.blocking import Blocking
from patterns.logs import get_logger
from patterns.names import MAX_SUBJECT_BYTES, check_name, check_subject, group_of, group_subject
from patterns.port import Handle, PubSubPort, Timer
from patterns.portions import Hold
from patterns.queuegroups import QueueGroups
from patterns.subjects import SubjectMap
from patterns.subscription import STALL_AFTER, Subscription

__all__ = ["MAX_ROUTES", "PubSub"]

logger = get_logger("mesh.pubsub")

MAX_ROUTES = 16_384
"""Subjects whose targets are remembered; about 3 MB, and a miss costs a few µs."""

CHECK_STALLS_EVERY = STALL_AFTER / 2
"""Seconds between looks at subscriptions that hold window bytes."""


class PubSub:
    """Interest of all nodes, subscriptions of this one.

    ``on_interest(pattern, is_wanted)`` is told when the node as a whole begins or ceases to want
    a pattern, ``on_queue_interest`` the same of ``QueueGroups``, ``on_blocking`` of ``Blocking``;
    ``me`` is the own node's handle.
    """

    def __init__(
        self,
        port: PubSubPort,
        me: Handle,
        on_interest: Callable[[str, bool], None],
        on_queue_interest: Callable[[str, str, bool], None],
        on_blocking: Callable[[bool], None],
    ) -> None:
        self._port = port
        self._me = me
        self._on_interest = on_interest
        self._interest: SubjectMap[Handle] = SubjectMap()
        self._local: SubjectMap[Subscription] = SubjectMap()
        self._subscriptions: dict[Subscription, None] = {}
        self._wanted: dict[str, int] = {}
        self._echoed: dict[str, int] = {}
        self.routes: dict[str, tuple[Handle, ...]] = {}
        """The targets of each subject that was asked for: for who cannot afford a call."""
        self._audiences: dict[tuple[Handle, ...], tuple[Handle, ...]] = {}
        self.queues = QueueGroups(me, on_queue_interest)
        self.blocking = Blocking(me, on_blocking)
        self._stall_timer: Timer | None = None
        self._dropped = 0
        self._replaced = 0
        self._handler_errors = 0
        self.malformed = 0
        self.on_headers: Callable[[dict[str, str]], None] = _nothing
        """Told the headers of each message that has some, before it is handed out."""

    # Sending.

    def known_route(self, subject: str) -> tuple[Handle, ...] | None:
        """What ``route`` would say, if that is known already; the one thing any thread may ask."""
        try:
            return self.routes.get(subject)
        except TypeError:
            return None

    def route(self, subject: str) -> tuple[Handle, ...]:
        """The nodes a publish to ``subject`` goes to now. Raises BadName."""
        try:
            return self.routes[subject]
        except (KeyError, TypeError):
            return self._find_route(check_subject(subject))

    def group_route(self, group: str) -> tuple[Handle, ...]:
        """The members of a group now. Raises BadName."""
        subject = group_subject(group if group == "*" else check_name("group", group))
        targets = self.routes.get(subject)
        return self._find_route(subject) if targets is None else targets

    def is_subscribed(self, target: Handle, subject: str) -> bool:
        """Whether that node has a subscription that matches."""
        return target in self.route(subject)

    def _find_route(self, subject: str) -> tuple[Handle, ...]:
        if len(self.routes) >= MAX_ROUTES:
            self._forget_routes()
        found = tuple(self._interest.match(subject))
        # One tuple for all subjects with the same audience: what goes there shares batches.
        targets = self.routes[subject] = self._audiences.setdefault(found, found)
        return targets

    # Interest.

    def add_interest(self, target: Handle, pattern: str) -> None:
        """``target`` wants the pattern (checked by whoever read its record)."""
        self._interest.add(pattern, target)
        self._forget_routes()

    def remove_interest(self, target: Handle, pattern: str) -> None:
        self._interest.remove(pattern, target)
        self._forget_routes()

    def _forget_routes(self) -> None:
        self.routes.clear()
        self._audiences.clear()

    def members(self, group: str) -> list[Handle]:
        """The nodes in a group, the own one included."""
        return list(self.group_route(group))

    # Subscriptions of this node.

    def subscribe(self, subscription: Subscription) -> None:
        """Deliver to ``subscription`` from now on."""
        pattern = subscription.pattern
        self._subscriptions[subscription] = None
        self.blocking.listen(subscription)
        if subscription.group is not None:
            self.queues.listen(subscription)
            return
        self._local.add(pattern, subscription)
        self._wanted[pattern] = self._wanted.get(pattern, 0) + 1
        if subscription.echo:
            self._echoed[pattern] = self._echoed.get(pattern, 0) + 1
            if self._echoed[pattern] == 1:
                self.add_interest(self._me, pattern)
        if self._wanted[pattern] == 1:
            self._on_interest(pattern, True)

    def unsubscribe(self, subscription: Subscription) -> None:
        """Stop delivering; unknown ones are ignored."""
        if subscription not in self._subscriptions:
            return
        pattern = subscription.pattern
        del self._subscriptions[subscription]
        self.blocking.stop(subscription)
        self._dropped += subscription.dropped
        self._replaced += subscription.replaced
        self._handler_errors += subscription.handler_errors
        if subscription.group is not None:
            self.queues.stop(subscription)
            subscription.close()
            return
        self._local.remove(pattern, subscription)
        subscription.close()
        if subscription.echo and _decrement(self._echoed, pattern):
            self.remove_interest(self._me, pattern)
        if _decrement(self._wanted, pattern):
            self._on_interest(pattern, False)

    def withdraw_groups(self) -> None:
        """What this node itself sends to groups and queue groups comes here no more."""
        self._withdraw([p for p in self._wanted if group_of(p) is not None])
        self.queues.withdraw()

    def withdraw(self) -> None:
        """What this node itself publishes comes here no more; what others sent is delivered."""
        self._withdraw(list(self._wanted))

    def _withdraw(self, patterns: Iterable[str]) -> None:
        for pattern in patterns:
            del self._wanted[pattern]
            if self._echoed.pop(pattern, 0):
                self.remove_interest(self._me, pattern)

    def wants(self, pattern: str) -> bool:
        """Whether this node has a subscription of exactly this pattern."""
        return pattern in self._wanted

    @property
    def subscriptions(self) -> list[Subscription]:
        """All of this node."""
        return list(self._subscriptions)

    @property
    def is_idle(self) -> bool:
        """Whether no message waits for a handler and none runs."""
        return not self.busy()

    def busy(self) -> list[str]:
        """The patterns of the subscriptions whose handlers run, or have messages waiting."""
        return [s.pattern for s in self._subscriptions if s.handler is not None and s.is_busy]

    @property
    def dropped(self) -> int:
        """Messages that full buffers of subscriptions have dropped, all of them."""
        return self._dropped + sum(s.dropped for s in self._subscriptions)

    @property
    def replaced(self) -> int:
        """Messages that newer ones of their subject have replaced in subscriptions."""
        return self._replaced + sum(s.replaced for s in self._subscriptions)

    @property
    def handler_errors(self) -> int:
        """Handlers that ran inline and raised."""
        return self._handler_errors + sum(s.handler_errors for s in self._subscriptions)

    # Delivery.

    def deliver(
        self,
        kind: int,
        sender: Handle,
        entries: Sequence[Any],
        missed: int,
        size: int,
        release: Callable[[int], None],
    ) -> None:
        """Hand one frame's entries to the subscriptions they match, in order.

        ``missed`` messages were lost before the first. ``release(size)`` is called once, now or
        later, when the frame is consumed.
        """
        cls = m.message_class(kind)
        touched = self.hand_out(cls, sender, entries, missed) if cls is not None else ()
        if touched:
            self._accept(touched, size, release)
        else:
            release(size)

    def hand_out(
        self, cls: type[m.Message], sender: Handle, entries: Sequence[Any], missed: int
    ) -> list[Subscription]:
        """The hot loop. Returns the subscriptions that have fresh messages now."""
        peer = sender.peer
        new = object.__new__
        match = self._local.match if sender is not self._me else self._match_echoing
        touched: list[Subscription] = []
        last_subject = None
        subscriptions: Sequence[Subscription] = ()
        for entry in entries:
            try:
                subject, data = entry[0], entry[1]
                headers = {} if len(entry) == 2 else self._headers(entry[2])
                if subject != last_subject:
                    subscriptions = match(_short(subject))
                    last_subject = subject
            except (TypeError, IndexError, KeyError, ValueError, AttributeError):
                self.malformed += 1
                continue
            if not subscriptions:
                continue
            # What its __init__ does, without the call: that would be a third of all this costs.
            message = new(cls)
            message._subject = subject
            message.data = data
            message.headers = headers
            message.sender = peer
            message.missed = missed
            missed = 0
            for subscription in subscriptions:
                if subscription.inline:
                    try:
                        subscription.handler(message)  # type: ignore[misc]
                    except BaseException:
                        # Whatever it is, a handler cannot end the node.
                        subscription.handler_errors += 1
                        logger.exception("the handler of %r raised", subscription.pattern)
                else:
                    if not subscription.fresh:
                        touched.append(subscription)
                    subscription.fresh.append(message)
        return touched

    def _headers(self, value: object) -> dict[str, str]:
        if not isinstance(value, dict):
            raise TypeError("headers must be a map")
        self.on_headers(value)
        return value

    def lose(self, sender: Handle, subject: str, count: int) -> None:
        """So many messages of a subject were dropped on the way here, as their sender says."""
        match = self._local.match if sender is not self._me else self._match_echoing
        for subscription in match(subject):
            subscription.lost += count

    def _match_echoing(self, subject: str) -> Sequence[Subscription]:
        """The subscriptions that take this node's own messages."""
        return [s for s in self._local.match(subject) if s.echo]

    def _accept(
        self, touched: Sequence[Subscription], size: int, release: Callable[[int], None]
    ) -> None:
        hold = Hold(size, len(touched), release)
        now = self._port.now()
        for subscription in touched:
            subscription.accept(hold, now)
        if self._stall_timer is None:
            self._stall_timer = self._port.call_later(CHECK_STALLS_EVERY, self._check_stalls)

    def _check_stalls(self) -> None:
        self._stall_timer = None
        now = self._port.now()
        is_held = False
        for subscription in self._subscriptions:
            if subscription.holds_window():
                subscription.release_if_stalled(now)
                is_held = is_held or subscription.holds_window()
        if is_held:
            self._stall_timer = self._port.call_later(CHECK_STALLS_EVERY, self._check_stalls)

    def close(self) -> None:
        """Deliver nothing more; cancel handlers that can be cancelled."""
        if self._stall_timer is not None:
            self._stall_timer.cancel()
            self._stall_timer = None
        for subscription in list(self._subscriptions):
            subscription.cancel()
        self._subscriptions.clear()


def _short(subject: str) -> str:
    """A subject from outside; only its length matters here, for it is remembered."""
    if len(subject) > MAX_SUBJECT_BYTES:
        raise ValueError("no sender of ours lets such a subject pass")
    return subject


def _nothing(headers: dict[str, str]) -> None:
    pass


def _decrement(counts: dict[str, int], key: str) -> bool:
    """Count down what is counted; True when that was the last, and the key is gone."""
    if key not in counts:
        return False
    counts[key] -= 1
    if counts[key]:
        return False
    del counts[key]
    return True
