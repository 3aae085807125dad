"""What a sender knows of the members it sends casts to, and of the casts on their way.

``Stream``   one member, all pools: numbers, and what is in flight there
``Account``  one member in one pool: the credit that it granted us
``Line``     one set of members to choose from, and the casts that wait for any of them
``Cast``     one message, kept until it is acknowledged
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from patterns.groupcast.flight import Flight
from patterns.groupcast.waitlist import Waitlist
from patterns.groupcast.window import Window
from patterns.port import Handle, Waiter

if TYPE_CHECKING:
    from patterns.groupcast.keyed import KeyLine

__all__ = ["MEMBER_BYTES", "Account", "Cast", "Line", "Stream"]

MEMBER_BYTES = 8 * 1024 * 1024
"""In flight to one member: credit counts messages, and large ones must not make it gigabytes.
One message may be larger."""

RUN_PART = 16
"""A member chosen takes up to this part of its credit in a row, then the choice is made anew:
choosing costs as much as ten casts, and so much imbalance no one can see."""


class Cast:
    """One message. It is a plain class on purpose: what is rare lives on it, and costs nothing.

    ``seq`` is the order of acceptance: what is sent again goes before what was accepted later.
    ``account`` is where it is in flight.
    """

    subject: str | None = None
    refused_by: tuple[Handle, ...] = ()
    redirects = 0
    moved_to: Handle | None = None
    key_line: KeyLine | None = None
    waiter: Waiter | None = None
    """Of its caller, until a member has it."""
    tick = 0
    deadline: float | None = None
    """Of a caller that for now waits only for a first member, and not so long."""
    waits_in: Waitlist | None = None
    is_over = False
    """Whether its caller has been told that it was in vain."""

    def __init__(self, entry: bytes, pool: str, seq: int, account: Account | None = None) -> None:
        self.entry = entry
        self.pool = pool
        self.seq = seq
        self.account = account

    @property
    def is_given_up(self) -> bool:
        """Whether its caller does not wait for it any more."""
        return self.is_over or (self.waiter is not None and self.waiter.done())


class Stream:
    """The casts to one member, numbered for as long as the two know each other."""

    __slots__ = (
        "accounts",
        "bytes",
        "epoch_first",
        "handle",
        "in_flight",
        "is_healthy",
        "progress_at",
    )

    def __init__(self, handle: Handle, is_healthy: bool) -> None:
        self.handle = handle
        self.is_healthy = is_healthy
        self.in_flight = Flight()
        self.bytes = 0
        self.accounts: dict[str, Account] = {}
        self.epoch_first = 0
        """The number of the first cast of this link epoch: credit of older ones is void."""
        self.progress_at = 0.0

    def take(self, number: int) -> Cast | None:
        """Take one out of flight; its account does not count it any more."""
        plain, casts = self.in_flight.land(number, 1)
        casts += [Cast(entries[0], account.pool, 0, account) for account, entries in plain]
        if not casts:
            return None
        self.bytes -= len(casts[0].entry)
        return casts[0]

    def all(self) -> list[Cast]:
        """All that is in flight, in order."""
        found = list(self.in_flight.casts.items())
        for run in self.in_flight.runs:
            account = run.account
            for number, entry in enumerate(run.entries, run.first):
                if entry is not None:
                    found.append((number, Cast(entry, account.pool, 0, account)))
        return [cast for _, cast in sorted(found, key=lambda pair: pair[0])]

    def settle(self, ranges: Sequence[int]) -> tuple[dict[str, tuple[int, int]], list[Cast]]:
        """These are handled; returns how many were plain and their bytes, by pool; the others."""
        plain: dict[str, tuple[int, int]] = {}
        others: list[Cast] = []
        land = self.in_flight.land
        for first, length in zip(ranges[::2], ranges[1::2], strict=True):
            landed, casts = land(first, length)
            for account, entries in landed:
                size = sum(map(len, entries))
                self.bytes -= size
                before = plain.get(account.pool, (0, 0))
                plain[account.pool] = before[0] + len(entries), before[1] + size
            for cast in casts:
                self.bytes -= len(cast.entry)
            others += casts
        return plain, others


class Account:
    """Credit of one member in one pool."""

    __slots__ = ("available", "granted", "in_flight", "is_keys_turn", "keyed", "least_available",
                 "lines", "pool", "returned", "share", "stream", "weight", "wished")  # fmt: skip

    def __init__(self, pool: str, stream: Stream, weight: float) -> None:
        self.pool = pool
        self.stream = stream
        self.weight = weight
        self.available = 0
        self.granted = 0
        self.returned = 0
        self.in_flight = 0
        self.share: int | None = None
        """Which of the member's books its totals are from; a new one begins at 0."""
        self.wished = 0
        """What the member was told last that we would have."""
        self.least_available = 0
        """Of the second that runs: so much was not needed in it."""
        self.lines: dict[Line, None] = {}
        """Lines in which something waits for this member or another."""
        self.is_keys_turn = False
        """Keys and lines get credit by turns."""
        self.keyed: dict[KeyLine, None] = {}
        """Keys whose next cast waits for credit of this member."""

    @property
    def can_take(self) -> bool:
        """Whether a cast may go there now."""
        stream = self.stream
        return (
            self.available > 0
            and stream.is_healthy
            and (stream.bytes < MEMBER_BYTES or not self.in_flight)
        )

    def begin_epoch(self) -> None:
        """Its link began anew: what it granted is void."""
        self.available = self.granted = self.returned = self.wished = self.least_available = 0
        self.share = None


class Line:
    """A set of members of a pool. ``waiting`` are casts for any one of them, in order.

    A member is chosen for a *run* of casts: it gets what is pushed, ``left`` times or until the
    turn ends. Credit and room are set aside when the run begins, all else is done when it ends.
    """

    __slots__ = (
        "_turn",
        "accounts",
        "by_handle",
        "current",
        "left",
        "peer",
        "pool",
        "push",
        "refused",
        "run",
        "waiting",
        "window",
    )

    def __init__(self, pool: str, accounts: Iterable[Account], window: Window) -> None:
        self.pool = pool
        self.window = window
        self.accounts = list(accounts)
        self.by_handle = {account.stream.handle: account for account in self.accounts}
        self.waiting = Waitlist()
        self.refused: list[Cast] = []
        """Casts that some have refused, and that wait for another."""
        self.current: Account
        self.peer: Any = None
        """Who that is, to users."""
        self.left = 0
        self.run: list[bytes] = []
        self.push: Callable[[bytes], None] = self.run.append
        self._turn = 0

    def pick(self, excluding: tuple[Handle, ...] = ()) -> Account | None:
        """The member with the least of its credit in use, weighted; None when none has any."""
        best: Account | None = None
        least = 0.0
        count = len(self.accounts)
        # Not always the same one first: at low load all are equal.
        self._turn = turn = (self._turn + 1) % count if count else 0
        for index in range(turn, turn + count):
            account = self.accounts[index - count if index >= count else index]
            if not account.can_take or account.stream.handle in excluding:
                continue
            used = account.in_flight
            load = (used + 1) / ((used + account.available) * account.weight)
            if best is None or load < least:
                best, least = account, load
        return best

    def add(self, cast: Cast) -> None:
        """It waits for a member, behind all others unless it was refused."""
        if cast.refused_by:
            self.refused.append(cast)
        else:
            self.waiting.append(cast)

    @property
    def is_waiting(self) -> bool:
        """Whether something waits for a member."""
        return bool(self.refused or self.waiting)

    def pop_for(self, account: Account) -> Cast | None:
        """The next one that waits and that this member may have."""
        handle = account.stream.handle
        for index, cast in enumerate(self.refused):
            if handle not in cast.refused_by or not self.has_other(cast.refused_by):
                del self.refused[index]
                return cast
        return self.waiting.pop()

    def pick_for(self, cast: Cast) -> Account | None:
        """A member with credit that has not refused it; or any, if all have."""
        account = self.pick(cast.refused_by)
        if account is None and cast.refused_by and not self.has_other(cast.refused_by):
            account = self.pick()
        return account

    def begin_run(self, most: int) -> bool:
        """Choose a member for the next casts, at most ``most``, and set their credit aside.

        False when none has credit.
        """
        account = self.pick()
        if account is None:
            return False
        available = account.available
        part = (account.in_flight + available) // RUN_PART
        count = max(1, min(available, most, part))
        account.available = available - count
        account.in_flight += count
        self.window.count += count
        self.current = account
        self.peer = account.stream.handle.peer
        self.left = count
        self.run = []
        self.push = self.run.append
        return True

    def end_run(self) -> list[bytes]:
        """What came; the credit for what did not is free again."""
        account, unused = self.current, self.left
        self.left = 0
        self.window.count -= unused
        account.in_flight -= unused
        account.available += unused
        account.least_available = min(account.least_available, account.available)
        run, self.run = self.run, []
        return run

    def has_other(self, handles: tuple[Handle, ...]) -> bool:
        """Whether somebody healthy is in it beside these."""
        return any(a.stream.is_healthy and a.stream.handle not in handles for a in self.accounts)

    @property
    def appetite(self) -> int:
        """What to ask each member for: the most that any has of ours, and room to grow.

        The same of all, or whoever was first would get more and more.
        """
        most = max((account.in_flight for account in self.accounts), default=0)
        return max(2 * most, most + len(self.waiting) + len(self.refused), 1)

    def some(self, count: int) -> list[Account]:
        """``count`` members, others each time; or all, if there are no more."""
        accounts = self.accounts
        if len(accounts) <= count:
            return accounts
        self._turn = turn = (self._turn + count) % len(accounts)
        return (accounts + accounts)[turn : turn + count]
