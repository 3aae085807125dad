"""Casts with a key: to the key's owner, one after the other in the order in which they were sent.

All casts of a key that are in flight are at one member. When the owner changes, those that come
after wait until the ones before are settled; what a member gave back, or died with, goes first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from patterns.groupcast import casts as k
from patterns.groupcast.accounts import Account, Cast
from patterns.groupcast.lines import Lines
from patterns.groupcast.waitlist import Waitlist
from patterns.port import CastPort

__all__ = ["KeyLine", "KeyLines"]


class KeyLine:
    """One key of one pool, while casts of it are in flight or wait."""

    __slots__ = (
        "account",
        "in_flight",
        "is_held",
        "key",
        "last_done",
        "pool",
        "waiting",
        "waits_at",
    )

    def __init__(self, pool: str, key: bytes) -> None:
        self.pool = pool
        self.key = key
        self.account: Account | None = None
        """Where those in flight are."""
        self.in_flight = 0
        self.waiting = Waitlist()
        self.waits_at: Account | None = None
        """Whose credit the next one waits for."""
        self.is_held = False
        """Whether some came back while later ones are out: these are waited for."""
        self.last_done = 0
        """The latest one, in the order of acceptance, that is handled."""


class KeyLines:
    """All keys in use. ``assign(account, cast)`` sends a cast, ``want(account)`` asks for credit,
    ``flag(cast, flag)`` tells its receiver what is special about it."""

    def __init__(
        self,
        port: CastPort,
        lines: Lines,
        assign: Callable[[Account, Cast], None],
        want: Callable[[Account], None],
        flag: Callable[[Cast, int], None],
    ) -> None:
        self._port = port
        self._members = lines
        self._assign = assign
        self._want = want
        self._flag = flag
        self._lines: dict[tuple[str, bytes], KeyLine] = {}

    def __len__(self) -> int:
        return len(self._lines)

    def add(self, cast: Cast, key: bytes) -> None:
        """A new cast, behind all of its key."""
        line = self._lines.get((cast.pool, key))
        if line is None:
            line = self._lines[cast.pool, key] = KeyLine(cast.pool, key)
        cast.key_line = line
        is_first = not line.waiting
        line.waiting.append(cast)
        if is_first:
            self.advance(line)

    def advance(self, line: KeyLine, most: int | None = None) -> None:
        """Send what may be sent, at most so many; the rest waits where its hindrance is."""
        if line.waits_at is not None:
            line.waits_at.keyed.pop(line, None)
            line.waits_at = None
        while (cast := line.waiting.head()) is not None:
            account = self._target(line, cast)
            if account is None or (
                line.in_flight and (line.is_held or line.account is not account)
            ):
                return
            if not account.can_take or most == 0:
                line.waits_at = account
                account.keyed[line] = None
                self._want(account)
                return
            line.waiting.pop()
            if cast.seq < line.last_done:
                self._flag(cast, k.FLAG_REDELIVERED)
            line.account = account
            line.in_flight += 1
            self._assign(account, cast)
            most = most - 1 if most is not None else None
        self._drop_if_idle(line)

    def credit_came(self, account: Account) -> None:
        """Give one cast of the key that waits longest for this member."""
        self.advance(next(iter(account.keyed)), 1)

    def settled(self, line: KeyLine, seq: int) -> None:
        """One in flight is handled or given up."""
        line.last_done = max(line.last_done, seq)
        line.in_flight -= 1
        if not line.in_flight:
            line.account = None
            line.is_held = False
            self.advance(line)

    def came_back(self, casts: Iterable[Cast]) -> None:
        """These were in flight and must be sent again, before what came after them."""
        lines: dict[KeyLine, None] = {}
        for cast in casts:
            line = cast.key_line
            if line is not None:
                line.waiting.insert(cast)
                line.in_flight -= 1
                lines[line] = None
        for line in lines:
            line.is_held = line.in_flight > 0
            if not line.in_flight:
                line.account = None
            self.advance(line)

    def members_changed(self) -> None:
        """Owners may have changed: look again at all that waits."""
        for line in list(self._lines.values()):
            if line.waiting:
                self.advance(line)

    def waiting(self) -> Iterator[Cast]:
        """All casts that wait."""
        return (cast for line in self._lines.values() for cast in line.waiting)

    def _target(self, line: KeyLine, cast: Cast) -> Account | None:
        """Where a keyed cast goes now: to the owner, past those that are in doubt."""
        members = self._members.of_group(line.pool).by_handle
        if cast.moved_to is not None:
            named = members.get(cast.moved_to)
            if named is not None and named.stream.is_healthy:
                return named
        owners = self._port.owners(line.pool, line.key)
        last: Account | None = None
        for handle in owners:
            account = members.get(handle)
            if account is None or not account.stream.is_healthy:
                continue
            if handle in cast.refused_by:
                last = last or account
                continue
            if handle is not owners[0] and not cast.redirects:
                # Its own view may be another: it shall handle it all the same.
                self._flag(cast, k.FLAG_FINAL)
            return account
        # All that are left have refused it: once more, until it is given up.
        return last

    def _drop_if_idle(self, line: KeyLine) -> None:
        name = line.pool, line.key
        if not line.in_flight and not line.waiting and self._lines.get(name) is line:
            del self._lines[name]
