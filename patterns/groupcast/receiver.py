"""The member's side of casts: take in, hand to desks, report, grant credit.

Rules:

* A cast is taken only in the link epoch in which its credit was granted. When a sender's link
  ends, what was not begun is given up, for the sender will give it to another; what runs, runs on.
* On a new link the sender is told what is still known of its casts (HELD), so it knows exactly
  which to send again, and which of those may have been handled.
* After a pause of this process (it was stopped, or the machine slept) nothing new begins before
  the sender has answered on the link: it may have revoked meanwhile, and a link that is gone
  cannot answer.
* A keyed cast whose owner is another by our view goes back with that one's name, not begun.
* Reports and grants leave at the end of the turn, for all that happened in it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import count
from typing import Any

from patterns.errors import Refuse
from patterns.groupcast import casts as k
from patterns.groupcast.casts import CastMessage, GroupcastMessage
from patterns.groupcast.desk import Desk
from patterns.groupcast.reports import Reports
from patterns.groupcast.sources import KNOWS_NOTHING, Pool, Source, is_held, oldest, read_cast
from patterns.keys import key_bytes
from patterns.port import CastPort, Handle
from patterns.subscription import Subscription

__all__ = ["CastReceiver"]

MAX_WISH = 1 << 20
"""A wish above this says nothing more."""

MAX_SOURCES = 4096
"""Senders that are remembered; as many as a node knows peers."""

LOST_AFTER = 1.0
BYTES_PER_SECOND = 100_000
"""What a sender asks after is lost when it has not come in a second, and a slow link's time for
its bytes: work frames have no other way to tell."""

PAUSE_CHECK = 16
"""Casts handled inline between looks at whether this process was stopped meanwhile."""


class CastReceiver:
    """All pools of this node and all who send to them; ``reports`` tells them what happened."""

    def __init__(self, port: CastPort) -> None:
        self._port = port
        self.now = port.now
        self.read = read_cast
        """What makes a message of an entry that is not plain."""
        self._pools: dict[str, Pool] = {}
        self._desks: dict[Subscription, Desk] = {}
        self._sources: dict[Handle, Source] = {}
        self.seen = 0
        """Casts that have come, whatever became of them."""
        self.reports = Reports(port, self._sources, self._forget_pool)
        self._share_numbers = count(1)
        """Of shares and of eras."""
        self._pauses = 0
        self._closed = False

    # Subscriptions.

    def add(self, subscription: Subscription) -> None:
        """Let the casts of its pool come to ``subscription``, if it has one."""
        name = subscription.pool
        if name is None:
            return
        pool = self._pools.get(name)
        if pool is None:
            pool = self._pools[name] = Pool(name, self._share_numbers)
        desk = subscription.casts = self._desks[subscription] = Desk(subscription, self)
        pool.add(desk)
        self.reports.mark_pool(pool)

    def remove(self, subscription: Subscription) -> None:
        """Its casts go back: unbegun, but for the one that its reader may have handled."""
        desk = self._desks.pop(subscription, None)
        if desk is None:
            return
        # Once the node has left, its pools are without desks, and soon forgotten.
        pool = self._pools.get(subscription.pool or "")
        if pool is not None:
            pool.remove(desk)
            self.reports.mark_pool(pool)
        for message in desk.take_unstarted(lambda _: True):
            self.pass_back(message, k.BACK_UNSTARTED)
        in_hand = desk.take_from_reader()
        if in_hand is not None:
            # Should this report be lost: of what is older than this nothing is known for certain.
            source: Source = in_hand.source
            source.since = max(source.since, in_hand.number + 1)
            self.pass_back(in_hand, k.BACK_TOUCHED)

    # Senders.

    def on_want(self, handle: Handle, name: str, wish: int, next_number: int, era: int) -> None:
        """A sender has work for a pool."""
        pool = self._pools.get(name)
        source = self._sources.get(handle)
        if pool is None or source is None or source.era != era or self._closed:
            return
        if source.expected is None:
            source.expected = source.epoch_first = next_number
            if source.since == KNOWS_NOTHING:
                source.since = next_number
        pool.book.want(handle, min(wish, MAX_WISH))
        self.reports.mark_pool(pool)

    def on_return(self, handle: Handle, name: str, share: int, total: int, wish: int) -> None:
        """A sender gives back what it did not use."""
        pool, source = self._pools.get(name), self._sources.get(handle)
        if pool is None or source is None:
            return
        here = sum(m.pool == name and source.is_current(m) for m in source.open.values())
        if not pool.book.give_back(handle, share, total, min(wish, MAX_WISH), here):
            self._port.count("bad_returns")
        self.reports.mark_pool(pool)

    def on_check(self, handle: Handle, next_number: int, size: int) -> None:
        """A sender hears nothing of its last casts: say so when they have not come."""
        source = self._sources.get(handle)
        if source is None or source.epoch is None or source.expected is None:
            return
        self.ask_again(handle)
        expected = source.expected
        if expected >= next_number:
            source.asked_after = None
            return
        if next_number - expected > self._credit_left(source):
            self._port.count("casts_beyond_credit")
            return
        now = self.now()
        if source.asked_after is None or source.asked_after[0] != expected:
            source.asked_after = (expected, now)
        elif now - source.asked_after[1] > LOST_AFTER + size / BYTES_PER_SECOND:
            self._port.count("casts_lost_on_the_way", next_number - expected)
            source.give_back(k.BACK_LOST, range(expected, next_number))
            source.expected = next_number
            self.reports.mark_source(source)

    def link_opened(self, handle: Handle, epoch: int) -> None:
        """A new link to that sender: old credit is void; tell what is known of its casts."""
        source = self._sources.get(handle)
        if source is None:
            if len(self._sources) >= MAX_SOURCES:
                self.forget(oldest(self._sources))
            source = self._sources[handle] = Source(handle, handle is self._port.local)
        self._begin_epoch(source, epoch)
        running = k.ranges_of(source.open)
        self._port.tell(handle, k.HELD, source.era, source.since, running, source.all_done())

    def ask_again(self, handle: Handle) -> None:
        """Its link to us began anew, so its answer to our question may be lost."""
        source = self._sources.get(handle)
        if source is not None and source.hold is not None:
            self._pauses += 1
            source.hold = self._port.ask(handle, self._pauses)

    def link_lost(self, handle: Handle) -> None:
        """No link: what it sent and we have not begun is no longer ours."""
        source = self._sources.get(handle)
        if source is not None:
            self._begin_epoch(source, None)

    def sender_left(self, handle: Handle) -> None:
        """It said goodbye and will give its casts to nobody else: those here are still done."""
        source = self._sources.pop(handle, None)
        if source is not None:
            source.epoch = None
            self._carry(source)
            self._release(source)

    def _begin_epoch(self, source: Source, epoch: int | None) -> None:
        self._revoke(source)
        source.epoch = epoch
        # What asks for credit on the link that was comes too late.
        source.era = next(self._share_numbers)
        if source.expected is not None:
            source.epoch_first = source.expected
        source.expected = None
        source.hold = None
        source.asked_after = None
        source.back.clear()
        self._carry(source)

    def _carry(self, source: Source) -> None:
        """The grants of the old link are void; what is here still takes room."""
        carried: dict[str, int] = {}
        for message in source.open.values():
            carried[message.pool] = carried.get(message.pool, 0) + 1
        for name, pool in self._pools.items():
            pool.book.begin_epoch(source.handle, carried.get(name, 0))
            self.reports.mark_pool(pool)

    def _revoke(self, source: Source) -> None:
        for desk in self._desks.values():
            for message in desk.take_unstarted(lambda m: m.source is source):
                del source.open[message.number]
        for message in source.parked:
            del source.open[message.number]
        source.parked.clear()

    def _forget_pool(self, pool: Pool) -> None:
        self._pools.pop(pool.name, None)

    def forget(self, handle: Handle) -> None:
        """That sender is not remembered any more."""
        self._sources.pop(handle, None)

    # Casts.

    def on_casts(self, handle: Handle, epoch: int, first: int, entries: Sequence[Any]) -> None:
        """The entries of one frame, sent in that link epoch."""
        self.seen += len(entries)
        source = self._sources.get(handle)
        if source is None or source.epoch != epoch or source.expected is None or self._closed:
            self._port.count("stale_casts", len(entries))
            return
        missing = first - source.expected
        if missing < 0:
            self._port.count("stale_casts", len(entries))
            return
        if missing + len(entries) > self._credit_left(source):
            # No honest sender does that: what it loses by it is its own.
            self._port.count("casts_beyond_credit", len(entries))
            return
        self.reports.mark_source(source)
        if missing:
            self._port.count("casts_lost_on_the_way", missing)
            source.give_back(k.BACK_LOST, range(source.expected, first))
        source.expected = first + len(entries)
        if source.hold is None and not self.may_start():
            self.on_pause()
        self.take(source, first, entries)

    def _credit_left(self, source: Source) -> int:
        """How many casts more it may send, or have lost on the way."""
        handle = source.handle
        held = 0
        for pool in self._pools.values():
            share = pool.book.shares.get(handle)
            if share is not None:
                held += share.held
        return held - len(source.open)

    def take(self, source: Source, first: int, entries: Sequence[Any]) -> None:
        """Hand the entries of a frame to handlers, or to the desks where they wait for one."""
        touched: dict[Desk, None] = {}
        number, end = first, first + len(entries)
        while number < end:
            entry = entries[number - first]
            if type(entry) is list and len(entry) == 2 and source.hold is None:
                pool = self._pools.get(entry[0]) if type(entry[0]) is str else None
                if pool is not None and pool.desk is not None and pool.desk.inline:
                    number = self._run_plain(source, pool, pool.desk, number, first, entries)
                    continue
            self._take_one(source, number, entry, touched)
            number += 1
        for desk in touched:
            desk.subscription.wake()

    def _run_plain(
        self,
        source: Source,
        pool: Pool,
        desk: Desk,
        number: int,
        first: int,
        entries: Sequence[Any],
    ) -> int:
        """The hot loop: casts of one pool that have nothing but data, for a plain function inline.

        From ``number`` on, as far as it goes; returns the next one.
        """
        handler, peer, name = desk.subscription.handler, source.handle.peer, pool.name
        new = object.__new__
        refused: list[int] = []
        began, start = self.now(), number
        for number in range(start, first + len(entries)):
            entry = entries[number - first]
            is_plain = type(entry) is list and len(entry) == 2 and entry[0] == name
            if not is_plain or pool.desk is not desk:
                break
            cast = new(GroupcastMessage)  # without __init__, as in ``PubSub.deliver``
            cast._subject = name
            cast.data = entry[1]
            cast.headers = {}
            cast.sender = peer
            try:
                handler(cast)  # type: ignore[misc]
            except Refuse:
                refused.append(number)
            except BaseException:  # noqa: BLE001  whatever it is, a handler cannot end the node
                desk.failed(cast)
            if not number % PAUSE_CHECK and not self.may_start():
                self.on_pause()
                number += 1
                break
        else:
            number += 1
        done = [start, number - start]
        if refused:
            source.give_back(k.BACK_REFUSED, refused)
            done = k.ranges_of(set(range(start, number)).difference(refused))
        source.add_done(done)
        pool.book.settle(source.handle, True, number - start)
        self.reports.mark_pool(pool)
        desk.worklist.took(self.now() - began, number - start)
        return number

    def _take_one(self, source: Source, number: int, entry: Any, touched: dict[Desk, None]) -> None:
        try:
            message = self.read(entry, source, number)
            pool = self._pools.get(message.pool)
        except (TypeError, IndexError, KeyError, ValueError):
            # It is passed on, and given up when nobody can read it.
            self._port.count("malformed_messages")
            source.give_back(k.BACK_UNREADABLE, (number,))
            return
        if pool is None:
            source.give_back(k.BACK_LOST, (number,))
            return
        desk = pool.desk_for(message)
        if desk is None:
            self._reject(source, message, k.BACK_UNSTARTED)
            return
        if message.key is not None and self._is_moved(source, message, entry):
            return
        source.open[number] = message
        if source.hold is None and not self.may_start():
            self.on_pause()
        if source.hold is not None:
            source.parked.append(message)
        elif desk.inline:
            self._run_inline(desk, message)
        else:
            desk.put(message)
            touched[desk] = None

    def _run_inline(self, desk: Desk, message: CastMessage) -> None:
        began = self.now()
        message.outcome = k.HANDLED if desk.run(message) else k.REFUSED
        desk.worklist.took(self.now() - began, 1)
        self.through(message)

    def _is_moved(self, source: Source, message: CastMessage, entry: Sequence[Any]) -> bool:
        """Whether it goes back because its key is another's, by our view of the members."""
        owner = self._port.better_owner(message.pool, key_bytes(message.key))
        if owner is None:
            return False
        if len(entry) > 3 and entry[3] & k.FLAG_FINAL:
            self._port.count("keyed_casts_for_others")
            return False
        self._port.count("moved_casts")
        self._reject(source, message, k.BACK_MOVED, owner)
        return True

    def _reject(
        self, source: Source, message: CastMessage, reason: int, owner: bytes = b""
    ) -> None:
        """It goes back; the room that it took here is free again."""
        self._settle(source, message)
        source.give_back(reason, (message.number,), owner)
        self.reports.mark_source(source)

    def _settle(self, source: Source, message: CastMessage) -> None:
        """It takes no room here any more."""
        pool = self._pools.get(message.pool)
        if pool is not None:
            pool.book.settle(source.handle, source.is_current(message))
            self.reports.mark_pool(pool)

    # What became of them; the desks tell.

    def may_start(self) -> bool:
        """Whether new work may begin; asked on any thread."""
        return not self._port.is_paused()

    def through(self, message: CastMessage) -> None:
        """A handler, or a reader, is through with it."""
        source: Source = message.source
        if source.open.pop(message.number, None) is None or self._closed:
            return
        if message.outcome == k.REFUSED:
            self._reject(source, message, k.BACK_REFUSED)
            return
        source.add_done([message.number, 1])
        self._settle(source, message)
        self.reports.mark_source(source)

    def pass_back(self, message: CastMessage, reason: int) -> None:
        """It is not for this node any more."""
        source: Source = message.source
        if source.open.pop(message.number, None) is not None and not self._closed:
            self._reject(source, message, reason)

    def not_begun(self, desk: Desk, messages: list[CastMessage]) -> None:
        """Handed to a handler in the moment after a pause, and not begun."""
        self.on_pause()
        again: list[CastMessage] = []
        for message in messages:
            source: Source = message.source
            if message.number not in source.open:
                continue
            if source.hold is None:
                again.append(message)
            else:
                desk.worklist.ended(message)
                source.parked.append(message)
        desk.worklist.put_back(again)

    # Pauses.

    def on_pause(self) -> None:
        """This process was stopped for a while: ask every sender before anything new begins."""
        self._pauses += 1
        for source in self._sources.values():
            if source.epoch is not None and source.expected is not None:
                source.hold = self._port.ask(source.handle, self._pauses)
        held = [m for d in self._desks.values() for m in d.take_unstarted(is_held)]
        for message in sorted(held, key=lambda m: m.number):
            message.source.parked.append(message)
        # Of senders that have left nobody is asked.
        for subscription in list(self._desks):
            subscription.wake()

    def on_answer(self, handle: Handle, number: int) -> None:
        """That sender has not revoked: begin what waited."""
        source = self._sources.get(handle)
        if source is not None and source.hold == number:
            self._release(source)

    def _release(self, source: Source) -> None:
        """Let begin what was parked."""
        source.hold = None
        parked, source.parked = source.parked, deque()
        touched: dict[Desk, None] = {}
        for message in sorted(parked, key=lambda m: m.number):
            pool = self._pools.get(message.pool)
            desk = pool.desk_for(message) if pool is not None else None
            if source.hold is None and source.epoch is not None and not self.may_start():
                self.on_pause()
            if desk is None:
                self.pass_back(message, k.BACK_UNSTARTED)
            elif source.hold is not None:
                source.parked.append(message)
            elif desk.inline:
                self._run_inline(desk, message)
            else:
                desk.put(message)
                touched[desk] = None
        for desk in touched:
            desk.subscription.wake()

    # The end.

    def leave(self) -> None:
        """This node is about to say goodbye: what was not begun goes back."""
        for subscription in self._desks:
            subscription.casts = None
        self.drain()
        self.reports.flush()

    def drain(self) -> None:
        """Take nothing more: what was not begun goes back, and so does what comes; what runs,
        runs on and is told of."""
        for desk in self._desks.values():
            for message in desk.take_unstarted(lambda _: True):
                self.pass_back(message, k.BACK_UNSTARTED)
        for source in self._sources.values():
            for message in list(source.parked):
                self.pass_back(message, k.BACK_UNSTARTED)
            source.parked.clear()
        for pool in self._pools.values():
            for desk in list(pool.desks):
                pool.remove(desk)
            self.reports.mark_pool(pool)

    def close(self) -> None:
        """Take nothing more, report nothing more."""
        self._closed = True

    @property
    def is_idle(self) -> bool:
        """Whether no cast is here."""
        return not any(source.open for source in self._sources.values())
