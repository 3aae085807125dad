"""Which members a cast can go to: one ``Line`` for each set of them, made on first use."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from patterns.groupcast.accounts import Account, Cast, Line, Stream
from patterns.groupcast.denials import Denials
from patterns.groupcast.window import Window
from patterns.names import group_of
from patterns.port import CastPort, Handle

__all__ = ["MAX_LINES", "Lines"]

MAX_LINES = 1024
"""Sets of members that are remembered; beyond, those in which nothing waits are forgotten."""


class Lines:
    """The lines of all pools. ``streams`` are the sender's, by member; who denies a group to us is
    none of its members."""

    def __init__(self, port: CastPort, streams: dict[Handle, Stream], denials: Denials) -> None:
        self._port = port
        self._denials = denials
        self._streams = streams
        self.groups: dict[str, Line] = {}
        """The line of each group in use, by the group's name: what a groupcast looks up first."""
        self._lines: dict[tuple[str, tuple[Handle, ...]], Line] = {}
        self.windows: dict[str, Window] = {}

    def window(self, pool: str) -> Window:
        """What is kept of a pool's casts."""
        window = self.windows.get(pool)
        if window is None:
            window = self.windows[pool] = Window()
        return window

    def __iter__(self) -> Iterator[Line]:
        return iter(self._lines.values())

    def of_group(self, pool: str) -> Line:
        """All members of a group."""
        group = group_of(pool) or pool
        line = self.groups.get(group)
        if line is None:
            members = self._denials.others(pool, self._port.members(pool, None))
            line = self.groups[group] = self.of_members(pool, members)
        return line

    def of_members(self, pool: str, members: tuple[Handle, ...]) -> Line:
        """These members of a pool."""
        line = self._lines.get((pool, members))
        if line is None:
            if len(self._lines) >= MAX_LINES:
                self._lines = {key: li for key, li in self._lines.items() if li.is_waiting}
                self.groups.clear()
            accounts = [self._account(pool, member) for member in members]
            line = Line(pool, accounts, self.window(pool))
            self._lines[pool, members] = line
        return line

    def _account(self, pool: str, handle: Handle) -> Account:
        stream = self._streams.get(handle)
        if stream is None:
            stream = self._streams[handle] = Stream(handle, self._port.is_healthy(handle))
        account = stream.accounts.get(pool)
        if account is None:
            weight = self._port.weight(handle)
            account = stream.accounts[pool] = Account(pool, stream, weight)
        return account

    def of_cast(self, cast: Cast) -> Line:
        """Who may get it now."""
        if cast.subject is None:
            return self.of_group(cast.pool)
        return self.of_members(cast.pool, self._port.members(cast.pool, cast.subject))

    def describe(self, unacked: int) -> str:
        """Where the casts that are not acknowledged are, for people."""
        where = [
            (sum(account.in_flight for account in stream.accounts.values()), stream)
            for stream in self._streams.values()
        ]
        texts = [f"{count} at {stream.handle.peer}" for count, stream in where if count]
        waiting = unacked - sum(count for count, _ in where)
        if waiting:
            texts.append(f"{waiting} at nobody yet")
        return ", ".join(texts)

    def kept(self) -> dict[str, tuple[int, int, int, int]]:
        """Of each pool what is not acknowledged: casts, bytes, how many are at members, and how
        many wait for room."""
        in_flight = Counter[str]()
        for stream in self._streams.values():
            for pool, account in stream.accounts.items():
                in_flight[pool] += account.in_flight
        return {
            pool: (window.count, window.bytes, in_flight[pool], len(window.room))
            for pool, window in self.windows.items()
        }

    def clear(self) -> list[Cast]:
        """Members changed: forget all lines; returns what waited in them, in order."""
        waiting: list[Cast] = []
        for line in self._lines.values():
            for account in line.accounts:
                account.lines.pop(line, None)
            waiting += (*line.refused, *line.waiting)
        self._lines = {}
        self.groups.clear()
        for pool in [p for p, w in self.windows.items() if not (w.count or w.room)]:
            del self.windows[pool]
        return sorted(waiting, key=lambda cast: cast.seq)
