"""The sender's side of casts: choose the member, keep what is not acknowledged, send it again.

Rules:

* A cast goes only to a member that granted credit for it on the link that is up. Without a key:
  to the one with the least of its credit in use, by weight. With a key: to the key's owner.
* It is kept until its member says that it is through with it. It is sent again, marked, when the
  member failed or left with it, for it may have been handled; unmarked when the member gave it
  back unbegun or its handler refused it.
* What is kept of each pool is bounded (``Window``). Beyond that a groupcast waits, and a queue
  group's copy is refused and counted, because ``publish`` never waits.
* Suspects get nothing new; what they hold waits for their return, or their end.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from patterns.errors import MeshError, NodeClosed, NoProvider, Overloaded
from patterns.groupcast import casts as k
from patterns.groupcast.accounts import Account, Cast, Line, Stream
from patterns.groupcast.callers import Callers
from patterns.groupcast.demand import Demand
from patterns.groupcast.denials import Denials
from patterns.groupcast.keyed import KeyLines
from patterns.groupcast.lines import Lines
from patterns.groupcast.runs import RUN_ENTRY_BYTES, Runs
from patterns.groupcast.window import MAX_UNACKED
from patterns.logs import get_logger
from patterns.names import group_of, queue_of
from patterns.port import CastPort, Handle, Waiter

__all__ = ["CastSender"]

logger = get_logger("mesh.groupcast")

MOST_SETTLED = 2 * MAX_UNACKED
"""Numbers in one acknowledgement; an honest member has never more of ours."""

MAX_REFUSALS = 3
"""How often a cast is passed on after its handler refused it."""

MAX_REDIRECTS = 2
"""Answers that the owner is another which are followed; the next one handles it."""


class CastSender:
    """All that this node has sent to one of many. ``grace_left()`` is the wait for members."""

    def __init__(self, port: CastPort, grace_left: Callable[[], float]) -> None:
        self._port = port
        self._now = port.now
        self._send = port.send_cast
        self._grace_left = grace_left
        self._streams: dict[Handle, Stream] = {}
        self._denials = Denials()
        self.lines = Lines(port, self._streams, self._denials)
        self.groups = self.lines.groups
        """The line of each group in use, for ``cast``."""
        self._demand = Demand(port, self._streams)
        self._keys = KeyLines(
            port, self.lines, self._assign, self._demand.want_for_keys, self._flag
        )
        self._callers = Callers(port, self._take_out, self._error_of)
        self._seq = 0
        self._runs = Runs(port, self._demand)
        self._closed = False
        self.settled: Callable[[], None] = _nothing
        """Called when casts were acknowledged."""

    # Verbs.

    def cast(self, line: Line, entry: bytes) -> Any:
        """The shortest way: without a key, while a member has credit. Returns its peer.

        None when it must ``wait``.
        """
        left = line.left
        if left <= 0 or len(entry) > RUN_ENTRY_BYTES:
            if not self._runs.begin(line, len(entry) > RUN_ENTRY_BYTES):
                return None
            left = line.left
        line.left = left - 1
        line.push(entry)
        return line.peer

    def wait(
        self, pool: str, entry: bytes, key: bytes | None, timeout: float, waiter: Waiter
    ) -> None:
        """Send a groupcast as soon as a member may have it; ``waiter`` gets the member's peer.

        Raises NoProvider, AccessDenied and Overloaded at once when waiting is of no use.
        """
        if self._closed:
            raise NodeClosed("this node is closed")
        first = timeout
        line = self.lines.of_group(pool)
        if not line.accounts:
            first = 0.0 if self._denials.error(pool) else min(timeout, self._grace_left())
            if first <= 0:
                raise self._no_member(pool)
        self._seq += 1
        cast = Cast(entry, pool, self._seq)
        self._runs.end(line)
        self._callers.add(cast, waiter, timeout, first)
        if line.window.room or line.window.is_full:
            line.window.room[cast] = key
        else:
            self._place(cast, key)
        if timeout <= 0:
            self._callers.expire(cast)

    def abandon(self, waiter: Waiter) -> None:
        """The caller of a groupcast does not wait any more: it is not sent."""
        self._callers.abandon(waiter)

    def copy(self, pool: str, subject: str, members: tuple[Handle, ...], entry: bytes) -> bool:
        """A queue group's copy of a publish; False when there is no room for it. Never waits."""
        window = self.lines.window(pool)
        if window.is_full or self._closed:
            if not window.is_dropping:
                window.is_dropping = True
                logger.warning("queue group %r is behind: copies are dropped", queue_of(pool))
            self._port.count("queue_copies_dropped")
            return False
        self._seq += 1
        cast = Cast(entry, pool, self._seq)
        cast.subject = subject
        window.add(len(entry))
        self._place_in(self.lines.of_members(pool, members), cast)
        return True

    @property
    def unacked(self) -> int:
        """How many casts are accepted and not acknowledged."""
        return sum(window.count for window in self.lines.windows.values())

    def _no_member(self, pool: str) -> MeshError:
        denied = self._denials.error(pool)
        return denied or NoProvider(f"nobody is in the group {group_of(pool)!r}")

    def _error_of(self, cast: Cast) -> MeshError:
        """Why no member had it in time."""
        if not self.lines.of_group(cast.pool).accounts:
            return self._no_member(cast.pool)
        group = group_of(cast.pool)
        window = self.lines.window(cast.pool)
        if window.is_full:
            kept = f"{window.count} messages of {window.bytes} bytes"
            return Overloaded(f"the group {group!r} has not acknowledged {kept}")
        return Overloaded(f"no member of the group {group!r} had credit in time")

    # Placing.

    def _place(self, cast: Cast, key: bytes | None) -> None:
        if key is not None:
            self._keys.add(cast, key)
            return
        self._place_in(self.lines.of_group(cast.pool), cast)

    def _place_in(self, line: Line, cast: Cast) -> None:
        """To a member with credit, or behind those that wait for one."""
        account = line.pick() if not line.waiting else None
        if account is not None:
            self._assign(account, cast)
        else:
            line.add(cast)
            self._demand.want_for(line)

    def _take_out(self, cast: Cast) -> None:
        """Its caller gave up: it waits nowhere any more."""
        room = self.lines.window(cast.pool).room
        if cast in room:
            del room[cast]
        if cast.waits_in is not None:
            cast.waits_in.note_over(cast)
        if cast.key_line is not None:
            self._keys.advance(cast.key_line)

    def _assign(self, account: Account, cast: Cast) -> None:
        """Send it there, within its credit."""
        stream = account.stream
        number = self._send(stream.handle, cast.entry)
        if not stream.in_flight:
            stream.progress_at = self._now()
        stream.in_flight.casts[number] = cast
        stream.bytes += len(cast.entry)
        cast.account = account
        account.in_flight += 1
        account.available -= 1
        if account.available < account.least_available:
            account.least_available = account.available
        if cast.waiter is not None:
            self.lines.window(cast.pool).add(len(cast.entry))
            self._callers.accepted(cast, stream.handle)

    # Credit.

    def on_grant(self, handle: Handle, pool: str, share: int, total: int) -> None:
        """A member grants credit: so much in all, in that share of its book."""
        stream = self._streams.get(handle)
        account = stream.accounts.get(pool) if stream is not None else None
        if account is None:
            return
        if account.share != share:
            # It forgets a share only when nothing of it is left.
            account.share = share
            account.granted = account.returned = 0
        if total > account.granted:
            account.available += total - account.granted
            account.granted = total
            self._demand.arm()
            self._serve(account)

    def on_deny(self, handle: Handle, pool: str, rule: str, text: str) -> None:
        """A member's policy denies us that pool: we are to ask others, if there are any."""
        stream = self._streams.get(handle)
        if stream is not None and pool in stream.accounts and group_of(pool) is not None:
            self._denials.add(pool, handle, rule, text)
            self.members_changed()
            if not self.lines.of_group(pool).accounts:
                self._callers.fail_all(pool, self._no_member)

    def on_recall(self, handle: Handle, pool: str, share: int) -> None:
        """A member would have credit back that we do not use."""
        self._demand.on_recall(handle, pool, share)

    def _serve(self, account: Account) -> None:
        """Give what waits to a member that may have it: keys and lines by turns."""
        while account.can_take and (account.keyed or account.lines):
            account.is_keys_turn = not account.is_keys_turn
            if account.keyed and (account.is_keys_turn or not account.lines):
                self._keys.credit_came(account)
            else:
                self._serve_line(account)
        for line in account.lines:
            if line.is_waiting:
                self._demand.want_for(line)

    def _serve_line(self, account: Account) -> None:
        """One cast of the line whose turn it is."""
        line = next(iter(account.lines))
        del account.lines[line]
        cast = line.pop_for(account)
        if cast is not None:
            account.lines[line] = None
            self._assign(account, cast)

    def _serve_all(self, stream: Stream) -> None:
        for account in stream.accounts.values():
            if account.lines or account.keyed:
                self._serve(account)

    # What members say.

    def on_done(self, handle: Handle, ranges: list[Any]) -> None:
        """Handled. Raises ValueError for nonsense."""
        stream = self._streams.get(handle)
        if stream is None:
            return
        k.check_ranges(ranges, MOST_SETTLED)
        plain, others = stream.settle(ranges)
        if not plain and not others:
            return
        stream.progress_at = self._now()
        for pool, (count, size) in plain.items():
            self._release(pool, count, size)
        for cast in others:
            if cast.key_line is not None:
                self._keys.settled(cast.key_line, cast.seq)
            self._release(cast.pool, 1, len(cast.entry))
        self._serve_all(stream)
        self.settled()

    def _release(self, pool: str, count: int, size: int) -> None:
        """So many are off our hands: those that wait for room may come."""
        window = self.lines.window(pool)
        window.remove(count, size)
        room = window.room
        placed = 0
        while room and not window.is_full and window.count + placed < MAX_UNACKED:
            cast = next(iter(room))
            self._place(cast, room.pop(cast))
            placed += 1

    def on_back(self, handle: Handle, reason: int, ranges: list[Any], owner: Handle | None) -> None:
        """Not handled there, have them back. Raises ValueError for nonsense."""
        stream = self._streams.get(handle)
        if stream is None:
            return
        returned: list[Cast] = []
        for number in k.numbers_of(ranges, MOST_SETTLED):
            cast = stream.take(number)
            if cast is None:
                continue
            account, cast.account = cast.account, None
            if account is not None:
                if number >= stream.epoch_first and reason in k.CREDIT_COMES_BACK:
                    account.available += 1
                elif reason == k.BACK_UNSTARTED and account.available:
                    # Nobody there takes them: what it still granted is of no use.
                    self._demand.give_back(account, account.available, 0)
            if self._note_return(cast, handle, reason, owner):
                returned.append(cast)
        stream.progress_at = self._now()
        self._send_again(returned)
        self._serve_all(stream)

    def _note_return(self, cast: Cast, handle: Handle, reason: int, owner: Handle | None) -> bool:
        """Remember why it came back; False when it is given up."""
        if reason in k.REFUSALS:
            if len(cast.refused_by) >= MAX_REFUSALS:
                self._port.count("casts_given_up")
                logger.warning(
                    "a message for %s was refused %d times, it is given up",
                    cast.pool,
                    len(cast.refused_by) + 1,
                )
                self._settle_given_up(cast)
                return False
            cast.refused_by = (*cast.refused_by, handle)
        elif reason == k.BACK_MOVED:
            self._port.count("redirects_followed")
            cast.redirects += 1
            members = self.lines.of_group(cast.pool).by_handle
            named = members.get(owner) if owner is not None and owner is not handle else None
            cast.moved_to = owner if named is not None and named.stream.is_healthy else None
            if cast.redirects >= MAX_REDIRECTS or cast.moved_to is None:
                self._flag(cast, k.FLAG_FINAL)
        elif reason == k.BACK_TOUCHED:
            self._mark(cast)
        return True

    def _settle_given_up(self, cast: Cast) -> None:
        if cast.key_line is not None:
            self._keys.settled(cast.key_line, 0)
        self._release(cast.pool, 1, len(cast.entry))
        self.settled()

    def _mark(self, cast: Cast) -> None:
        """It may have been handled before, or comes behind later ones of its key."""
        self._flag(cast, k.FLAG_REDELIVERED)

    def _flag(self, cast: Cast, flag: int) -> None:
        """Set a flag in its entry."""
        fields = self._port.unpack(cast.entry)
        if not k.set_flag(fields, flag):
            return
        entry = self._port.pack(fields)
        more = len(entry) - len(cast.entry)
        if cast.waiter is None:
            self.lines.window(cast.pool).bytes += more
        else:
            self._callers.bytes += more
        cast.entry = entry

    def _send_again(self, casts: Sequence[Cast]) -> None:
        """To whoever may have them now; before all that was accepted later."""
        keyed = [cast for cast in casts if cast.key_line is not None]
        lines: dict[Line, list[Cast]] = {}
        for cast in casts:
            if cast.key_line is None:
                lines.setdefault(self.lines.of_cast(cast), []).append(cast)
        for line, again in lines.items():
            refused = [cast for cast in again if cast.refused_by]
            line.refused += refused
            if len(refused) < len(again):
                again.sort(key=lambda cast: cast.seq)
                line.waiting.put_back(cast for cast in again if not cast.refused_by)
            self._settle_line(line)
        self._keys.came_back(keyed)

    def _settle_line(self, line: Line) -> None:
        """Send what may be sent of a line, and ask for credit for the rest."""
        for cast in line.refused[:]:
            account = line.pick_for(cast)
            if account is not None:
                line.refused.remove(cast)
                self._assign(account, cast)
        while line.waiting and (account := line.pick()) is not None:
            cast_in_front = line.waiting.pop()
            if cast_in_front is not None:
                self._assign(account, cast_in_front)
        if line.is_waiting:
            self._demand.want_for(line)

    # Links and members.

    def link_opened(self, handle: Handle) -> None:
        """Its link to us began anew: its grants are void; what it still knows of follows."""
        self._runs.flush()
        if self._denials.forget(handle):
            self.members_changed()
        stream = self._streams.get(handle)
        if stream is None:
            return
        self._port.drop_unsent_casts(handle)
        stream.epoch_first = self._port.next_cast_number(handle)
        for account in stream.accounts.values():
            account.begin_epoch()

    def link_reopened(self, handle: Handle) -> None:
        """Our link to it began anew: what we told it may be lost."""
        self._demand.repeat(handle)

    def on_held(
        self, handle: Handle, era: int, since: int, running: list[Any], done: list[Any]
    ) -> None:
        """On a new link: what the member still knows of our casts. Raises ValueError."""
        self._demand.eras[handle] = era
        stream = self._streams.get(handle)
        if stream is None:
            return
        older = sorted(n for n in stream.in_flight.numbers() if n < stream.epoch_first)
        is_done = k.membership_of(done)
        is_running = k.membership_of(running)
        self.on_done(handle, k.ranges_of(number for number in older if is_done(number)))
        again: list[Cast] = []
        for number in older:
            cast = None if is_running(number) else stream.take(number)
            if cast is not None:
                cast.account = None
                if number < since:
                    self._mark(cast)
                again.append(cast)
        self._send_again(again)
        for account in stream.accounts.values():
            self._demand.want_again(account)

    def forget(self, handle: Handle) -> None:
        """That node, which may never have been a member, is not remembered any more."""
        self._demand.eras.pop(handle, None)

    def member_gone(self, handle: Handle) -> None:
        """It failed or left: what it had may have been handled, and goes to others, marked."""
        self._runs.flush()
        stream = self._streams.pop(handle, None)
        self._demand.eras.pop(handle, None)
        self._denials.forget(handle)
        self.members_changed()
        if stream is None:
            return
        lost = stream.all()
        for cast in lost:
            cast.account = None
            self._mark(cast)
        if lost:
            self._port.count("casts_redelivered", len(lost))
        self._send_again(lost)

    def health_changed(self, handle: Handle, is_healthy: bool) -> None:
        """It is in doubt, or not any more."""
        self._runs.flush()
        stream = self._streams.get(handle)
        if stream is None or stream.is_healthy is is_healthy:
            return
        stream.is_healthy = is_healthy
        self._keys.members_changed()
        if is_healthy:
            stream.progress_at = self._now()
            for account in stream.accounts.values():
                self._demand.want_again(account)
            self._serve_all(stream)

    def members_changed(self) -> None:
        """Groups, queue groups or subscriptions changed: choose anew for all that waits."""
        self._runs.flush()
        waiting = self.lines.clear()
        touched: dict[Line, None] = {}
        for cast in sorted(waiting, key=lambda cast: cast.seq):
            line = self.lines.of_cast(cast)
            line.add(cast)
            touched[line] = None
        self._callers.members_came(lambda pool: bool(self.lines.of_group(pool).accounts))
        for line in touched:
            self._settle_line(line)
        self._keys.members_changed()

    # The end.

    def describe(self) -> str:
        """Where the casts that are not acknowledged are, for people."""
        return self.lines.describe(self.unacked)

    def close(self) -> int:
        """End all waits with NodeClosed; returns how many casts are not acknowledged."""
        self._runs.flush()
        self._closed = True
        unacked = self.unacked
        self.lines.clear()
        self._callers.close(NodeClosed("the node was closed while the groupcast waited"))
        self._demand.close()
        return unacked


def _nothing() -> None: ...
