"""Peers that fail one method much more than the others do, passed over for a time.

Circuit breaker and outlier ejection in one: what a breaker opens for, and the comparison with the
others that keeps it from opening where all are in trouble (Nygard, "Release It!"; Envoy's outlier
detection). Of each method and peer, from this node's own calls:

* It is *passed over* when ``IN_A_ROW`` calls were not answered one after the other, and as many as
  the failures of the others make no chance (``CHANCE``); or when ``HALF`` of at least ``ENOUGH``
  failed, and at most half that share at the others.
* That lasts ``FIRST`` seconds, twice as long each time up to ``LONGEST``. Then *one* call tries it:
  a value brings it back, a failure begins the next and longer time.
* At most ``MOST`` of the healthy providers are passed over at once, so never the last.

What fails: a call that was not answered (CallTimeout, or lost with its connection), Overloaded, and
an exception of the handler. The last two are answers, so they count by their share alone: peers
that fail fast look idle, and would get the most calls. What the caller did wrong (BadRequest,
AccessDenied) is no failure, nor is what a node that leaves says. Calls with a key or a chosen peer
neither count nor are turned away: they have nowhere else to go, or fail by their key.

Being passed over is an order of preference: who is alone, or has only peers in doubt beside it, is
called as ever (``patterns.rpc.providers``). So nothing fails that would otherwise be sent.

Surprise: nothing is counted of a method until a call of it fails, and nothing any more when
failures are ``MEMORY`` old; counts fade instead of ending with a window. So where nothing fails all
of this costs one look at an empty table.
"""

from __future__ import annotations

import logging
from math import exp, inf

from patterns.errors import AccessDenied, BadRequest, CallTimeout, MeshError, NoProvider, PeerLost
from patterns.logs import get_logger
from patterns.port import Handle, RpcPort, Timer
from patterns.rpc.pending import Pending
from patterns.rpc.providers import Providers

__all__ = [
    "CHANCE",
    "ENOUGH",
    "FIRST",
    "HALF",
    "IN_A_ROW",
    "LONGEST",
    "MAX_METHODS",
    "MAX_TEXT",
    "MEMORY",
    "MOST",
    "Outliers",
]

IN_A_ROW = 5
"""Calls one after the other that were not answered: Envoy's and most breakers' figure."""

CHANCE = 1e-6
"""How likely a row may be, if the peer were as the others: where one in ten fails it takes 6, where
half of them do 20."""

ENOUGH = 20
"""Calls of which a share says something."""

HALF = 0.5
"""The share of its calls that failed, of a peer that is passed over."""

MEMORY = 10.0
"""Seconds in which a count falls to a third."""

FIRST = 1.0
"""Seconds for which a peer is passed over at first."""

LONGEST = 30.0
"""And at most. One that was back for so long begins with ``FIRST`` again."""

MOST = 0.5
"""Of the healthy providers of a method, those that may be passed over."""

MAX_METHODS = 1024
"""Methods watched at once; the one whose failures began first goes, with what is passed over."""

MAX_TEXT = 200
"""Characters of an error that are logged."""

logger = get_logger("mesh.rpc")

_NOTHING = 0.05
"""A count below this is none: a failure counts for 30 s."""


class Counts:
    """Calls that were good and bad, fading."""

    __slots__ = ("at", "bad", "good")

    def __init__(self, now: float) -> None:
        self.good = 0.0
        self.bad = 0.0
        self.at = now

    def fade(self, now: float) -> None:
        """To what they are worth now."""
        kept = exp((self.at - now) / MEMORY)
        self.good *= kept
        self.bad *= kept
        self.at = now


class Watched(Counts):
    """A method of which calls have failed: all its calls, and each peer's."""

    __slots__ = ("by_peer",)

    def __init__(self, now: float) -> None:
        super().__init__(now)
        self.by_peer: dict[Handle, Record] = {}

    @property
    def is_remembered(self) -> bool:
        """Whether a peer is passed over, or would be for longer than the first time."""
        recent = self.at - LONGEST
        return any(record.is_out or record.back_at > recent for record in self.by_peer.values())

    def forgive(self, record: Record) -> None:
        """What a peer did is of no account any more."""
        record.fade(self.at)
        self.good -= record.good
        self.bad -= record.bad
        record.good = record.bad = 0.0


class Record(Counts):
    """One peer's calls of one method."""

    __slots__ = ("back_at", "in_a_row", "is_out", "is_tried", "seconds", "timer")

    timer: Timer | None

    def __init__(self, now: float) -> None:
        super().__init__(now)
        self.in_a_row = 0
        """Not answered, until now."""
        self.is_out = False
        self.is_tried = False
        """Whether it was passed over long enough: the next outcome decides."""
        self.seconds = 0.0
        """For which it is, or was, passed over."""
        self.back_at = -inf
        self.timer = None


class Outliers:
    """All of one node."""

    def __init__(self, port: RpcPort, providers: Providers) -> None:
        self._port = port
        self._providers = providers
        self.watched: dict[str, Watched] = {}
        self.ejections = 0
        """Times that a peer was passed over for a method."""

    def answered(self, pending: Pending, handle: Handle) -> None:
        """A value came for a call."""
        method = pending.method
        watched = self.watched.get(method)
        if watched is None or not pending.options.is_anyones:
            return
        record = self._count(watched, handle, is_good=True)
        record.in_a_row = 0
        if record.is_out:
            if record.is_tried:
                self._release(handle, method, record)
                record.back_at = self._port.now()
                logger.info("%s of %s is called again: a call succeeded", method, handle.peer)
        elif watched.bad < _NOTHING and not watched.is_remembered:
            del self.watched[method]

    def failed(self, pending: Pending, handle: Handle, error: MeshError) -> None:
        """A call came to an end there without a value, whatever becomes of it now."""
        if not pending.options.is_anyones:
            return
        if isinstance(error, BadRequest | AccessDenied):
            # The caller's own fault, and an answer.
            self.answered(pending, handle)
            return
        if isinstance(error, NoProvider):
            return
        method = pending.method
        watched = self.watched.get(method) or self._watch(method)
        record = self._count(watched, handle, is_good=False)
        is_silent = isinstance(error, CallTimeout | PeerLost)
        record.in_a_row = record.in_a_row + 1 if is_silent else 0
        if record.is_out:
            if record.is_tried:
                self._put_out(handle, method, record, f"it failed again: {_short(error)}")
        elif self._is_outlier(watched, record) and self._providers.may_pass_over(
            handle, method, MOST
        ):
            what = f"{record.bad / (record.good + record.bad):.0%} of the calls failed"
            if record.in_a_row >= IN_A_ROW:
                what = f"{record.in_a_row} calls in a row were not answered"
            self._put_out(handle, method, record, f"{what}, the last: {_short(error)}")

    def forget(self, handle: Handle) -> None:
        """The peer is gone."""
        for method, watched in self.watched.items():
            record = watched.by_peer.pop(handle, None)
            if record is not None:
                watched.forgive(record)
                self._release(handle, method, record)

    def out(self) -> dict[bytes, list[str]]:
        """The methods for which a peer is passed over, by its id."""
        found: dict[bytes, list[str]] = {}
        for method, watched in self.watched.items():
            for handle, record in watched.by_peer.items():
                if record.is_out:
                    found.setdefault(handle.id, []).append(method)
        return found

    def close(self) -> None:
        """No timer stays behind."""
        for watched in self.watched.values():
            for record in watched.by_peer.values():
                if record.timer is not None:
                    record.timer.cancel()
        self.watched.clear()

    def _watch(self, method: str) -> Watched:
        if len(self.watched) >= MAX_METHODS:
            oldest = next(iter(self.watched))
            for handle, record in self.watched.pop(oldest).by_peer.items():
                self._release(handle, oldest, record)
        watched = self.watched[method] = Watched(self._port.now())
        return watched

    def _count(self, watched: Watched, handle: Handle, *, is_good: bool) -> Record:
        now = self._port.now()
        record = watched.by_peer.get(handle)
        if record is None:
            record = watched.by_peer[handle] = Record(now)
        # One that is passed over is nothing to compare with.
        for counts in () if record.is_out else (watched, record):
            counts.fade(now)
            if is_good:
                counts.good += 1
            else:
                counts.bad += 1
        return record

    @staticmethod
    def _is_outlier(watched: Watched, record: Record) -> bool:
        others = watched.good - record.good + watched.bad - record.bad
        if others <= _NOTHING:
            return False  # nothing to compare with
        others_share = max(0.0, watched.bad - record.bad) / others
        if record.in_a_row >= IN_A_ROW and others_share**record.in_a_row <= CHANCE:
            return True
        calls = record.good + record.bad
        share = record.bad / calls
        return calls >= ENOUGH and share >= HALF and others_share <= share / 2

    def _put_out(self, handle: Handle, method: str, record: Record, why: str) -> None:
        now = self._port.now()
        is_first = not record.is_out and now - record.back_at >= LONGEST
        record.seconds = FIRST if is_first else min(LONGEST, max(FIRST, 2 * record.seconds))
        if not record.is_out:
            record.is_out = True
            self.watched[method].forgive(record)
            self._providers.pass_over(handle, method, is_on=True)
        self.ejections += 1
        self._wait(handle, method, record)
        text = "%s of %s is passed over for %g s: %s"
        level = logging.WARNING if record.seconds == FIRST else logging.INFO
        logger.log(level, text, method, handle.peer, record.seconds, why)

    def _wait(self, handle: Handle, method: str, record: Record) -> None:
        if record.timer is not None:
            record.timer.cancel()
        record.is_tried = False

        def on_time() -> None:
            # One call, and another after as long if nothing is heard of the first.
            record.timer = self._port.call_later(record.seconds, on_time)
            record.is_tried = True
            self._providers.try_next(handle, method)

        record.timer = self._port.call_later(record.seconds, on_time)

    def _release(self, handle: Handle, method: str, record: Record) -> None:
        if record.timer is not None:
            record.timer.cancel()
            record.timer = None
        if record.is_out:
            record.is_out = record.is_tried = False
            self._providers.pass_over(handle, method, is_on=False)


def _short(error: MeshError) -> str:
    """For the log: how long the text of a handler's exception is, is up to the peer."""
    text = " ".join(str(error).split())
    return text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]}..."
