"""What a sender asks its members for, and what it gives back.

Each member is told once what we would have there, and again when that has grown. What it granted
and we did not need for a second goes back, so that idle senders hoard nothing.
"""

from __future__ import annotations

from patterns.groupcast import casts as k
from patterns.groupcast.accounts import Account, Line, Stream
from patterns.port import CastPort, Handle, Timer

__all__ = ["TICK", "Demand"]

TICK = 1.0
"""Seconds after which credit that was not needed goes back, and members that are silent about
what they have are asked."""

ASKED_AT_ONCE = 8
"""Members asked for credit when something waits; the next ones when more does, and all of them
when it still waits after a tick. A message to a thousand need not ask a thousand."""

SILENT_AFTER = 2.0
"""Seconds without a word about what is in flight before its member is asked for it."""


class Demand:
    """Wishes and returns for all accounts in ``streams``."""

    def __init__(self, port: CastPort, streams: dict[Handle, Stream]) -> None:
        self._port = port
        self._now = port.now
        self._streams = streams
        self._timer: Timer | None = None
        self._closed = False
        self._to_tell: dict[Account, None] = {}
        self.eras: dict[Handle, int] = {}
        """The era that each member has told last."""
        self.is_dirty = False

    def want_for(self, line: Line) -> None:
        """Ask members of a line in which something waits."""
        appetite = line.appetite
        for account in line.accounts:
            account.lines[line] = None
        for account in line.some(ASKED_AT_ONCE):
            if account.stream.is_healthy:
                self._want(account, appetite)

    def want_for_keys(self, account: Account) -> None:
        """Ask a member for whose credit keys wait."""
        self._want(account, max(2 * account.in_flight, account.in_flight + len(account.keyed)))

    def _want(self, account: Account, wish: int) -> None:
        """Say what we would have there, unless that was said already, about."""
        if wish > account.wished:
            account.wished = wish
            self._to_tell[account] = None
            if not self.is_dirty:
                self._port.mark(self)
        self.arm()

    def flush(self) -> None:
        """The end of a turn: tell each member once, however many casts began to wait in it."""
        self.is_dirty = False
        to_tell, self._to_tell = self._to_tell, {}
        for account in to_tell:
            handle = account.stream.handle
            number = self._port.next_cast_number(handle)
            era = self.eras.get(handle, 0)
            self._port.tell(handle, k.WANT, account.pool, account.wished, number, era)

    def want_again(self, account: Account) -> None:
        """Ask a member once more for what waits for it; one in doubt when it is back."""
        if not account.stream.is_healthy:
            return
        for line in list(account.lines):
            if line.is_waiting:
                self._want(account, line.appetite)
            else:
                del account.lines[line]
        if account.keyed:
            self.want_for_keys(account)

    def repeat(self, handle: Handle) -> None:
        """What that member was told may be lost."""
        stream = self._streams.get(handle)
        for account in stream.accounts.values() if stream is not None else ():
            if account.share is not None:
                self._tell_return(account, account.in_flight + account.available)
            self.want_again(account)

    def arm(self) -> None:
        """Something is lent or owed: look after it."""
        if self._timer is None and not self._closed:
            self._timer = self._port.call_later(TICK, self._on_tick)

    def _on_tick(self) -> None:
        self._timer = None
        now = self._now()
        is_busy = False
        for stream in self._streams.values():
            for account in stream.accounts.values():
                self._return_unused(account)
                is_waiting = bool(account.keyed or account.lines)
                if is_waiting and not account.available and not account.in_flight:
                    account.wished = 0
                    self.want_again(account)
                is_busy = is_busy or is_waiting or account.available > 0
            if stream.in_flight:
                is_busy = True
                if now - stream.progress_at > SILENT_AFTER:
                    handle = stream.handle
                    number = self._port.sent_cast_number(handle)
                    self._port.tell(handle, k.CHECK, number, stream.bytes)
        if is_busy:
            self.arm()

    def _return_unused(self, account: Account) -> None:
        if account.least_available > 0:
            unused = min(account.least_available, account.available)
            self.give_back(account, unused, account.in_flight + account.available - unused)
        account.least_available = account.available

    def give_back(self, account: Account, count: int, wish: int) -> None:
        """Return credit that is not needed, and say what we would have from now on."""
        account.available -= count
        account.least_available = min(account.least_available, account.available)
        account.returned += count
        self._tell_return(account, wish)

    def _tell_return(self, account: Account, wish: int) -> None:
        account.wished = wish
        handle = account.stream.handle
        self._port.tell(handle, k.RETURN, account.pool, account.share, account.returned, wish)

    def on_recall(self, handle: Handle, pool: str, share: int) -> None:
        """A member has others with work, and nothing for them: return what nothing waits for."""
        stream = self._streams.get(handle)
        account = stream.accounts.get(pool) if stream is not None else None
        if account is None or account.share != share:
            return
        if account.keyed or any(line.is_waiting for line in account.lines):
            return
        self.give_back(account, account.available, account.in_flight)

    def close(self) -> None:
        """Look after nothing more."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
