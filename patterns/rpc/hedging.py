"""A call that asks a second member when the first takes long (``hedge=``).

From "The Tail at Scale" (Dean and Barroso, 2013): a copy that is sent when most calls have been
answered already cuts the tail for a few percent of load, if one that is answered cancels the other.

Rules:

* Both *legs* are ordinary calls, with all that belongs to them: outstanding counts, deadline,
  cancellation, losses, refusals. The second is sent after the delay to a member that nothing is
  against and that the first was not tried at; without one there is none. One hedge a call, at most.
* The first value ends the call; the other leg is cancelled at once, and its answer, if it comes,
  is a late reply.
* A leg that fails while the other is under way is not tried again: the other is that try, and has
  all that ``retry`` gives from then on. A peer in doubt counts as a failure then. When both have
  failed the call ends with the error that says most (``_weight``).
* A peer whose leg lost goes on to count it as outstanding for as long again. Calls are balanced by
  how many are outstanding, and a peer that is slow would else look idle once its calls are
  cancelled, and be given more of them.
* Hedges are ``SHARE`` of the hedged calls of a method, and ``FLOOR`` for those who call seldom:
  under overload everything is late, and hedges must not add to it.

Surprise: a call that has no peer at that moment, as it waits for a provider or pauses before a
retry, is not hedged.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from patterns.errors import CallTimeout, NoProvider, Overloaded, PeerLost
from patterns.port import Handle, RpcPort, Timer, Waiter
from patterns.rpc.budget import Budget
from patterns.rpc.latencies import Latencies
from patterns.rpc.options import LEAST_HEDGE, CallOptions

__all__ = ["FLOOR", "MAX_METHODS", "SHARE", "WINDOW", "Hedging"]

SHARE = 0.05
"""Hedges for each hedged call of a method: what a delay of its 95th percentile needs."""

FLOOR = 10.0
"""Hedges that a method has at first, and may save up however seldom it is called."""

WINDOW = 10.0
"""Seconds for which a budget that is not used is kept."""

MAX_METHODS = 256
"""Methods whose budget and latencies are kept, 20 KiB each; the one not used for longest goes."""


class Calls(Protocol):
    """What hedging needs of the client."""

    def call(
        self,
        method: str,
        args: Sequence[Any],
        kwargs: dict[str, Any],
        options: CallOptions,
        waiter: Waiter,
        until: float | None = None,
    ) -> int: ...

    def spare_for(self, call_id: int) -> Handle | None:
        """Another member that a call under way may go to as well."""

    def send_also(self, call_id: int, other: Handle, options: CallOptions, waiter: Waiter) -> int:
        """A call under way goes to another member as well; returns its id there.

        ``options`` are those of both from now on.
        """

    def go_on(self, call_id: int, options: CallOptions) -> None:
        """A call has these options from now on."""

    def is_at(self, call_id: int, handle: Handle) -> bool:
        """Whether a call is under way there."""

    def drop(self, call_id: int, count_for: float = 0.0) -> None:
        """Forget a call, and tell its peer, where it counts as outstanding for so many seconds."""


class Hedging:
    """All hedged calls of one node."""

    def __init__(self, port: RpcPort, calls: Calls) -> None:
        self.port = port
        self.calls = calls
        self.races: dict[int, Race] = {}
        """By the id of the call, which is that of its first leg."""
        self._methods: dict[str, Measured] = {}
        self.sent = 0
        self.won = 0
        """Hedges that were answered first."""
        self.denied = 0
        """Hedges that the budget did not allow."""

    def call(
        self,
        method: str,
        args: Sequence[Any],
        kwargs: dict[str, Any],
        options: CallOptions,
        waiter: Waiter,
        until: float | None,
    ) -> int:
        """Start a hedged call; as ``RpcClient.call``."""
        race = Race(self, options, waiter)
        leg, alone = Leg(race), options.legs[0]
        call_id = leg.call_id = self.calls.call(method, args, kwargs, alone, leg, until)
        self.races[call_id] = race
        race.begin(leg, self._measured(method))
        return call_id

    def cancel(self, call_id: int) -> bool:
        """The caller of a hedged call gave up; False if there is none of that id."""
        race = self.races.get(call_id)
        if race is None:
            return False
        race.cancel()
        return True

    def on_suspect(self, handle: Handle) -> None:
        """The peer may be dying: a call that has another leg has enough with that one."""
        for race in list(self.races.values()):
            race.on_suspect(handle)

    def _measured(self, method: str) -> Measured:
        known = self._methods.pop(method, None)
        if known is None:
            known = Measured(self.port.now())
            if len(self._methods) >= MAX_METHODS:
                del self._methods[next(iter(self._methods))]
        self._methods[method] = known
        known.calls += 1
        return known


class Measured:
    """What is kept of a method."""

    __slots__ = ("budget", "calls", "latencies")

    def __init__(self, now: float) -> None:
        self.calls = 0
        """Hedged ones, from here."""
        self.budget = Budget(now, share=SHARE, per_second=0.0, window=WINDOW, floor=FLOOR)
        self.latencies = Latencies()


class Leg:
    """One of the calls that a hedged one is made of, as the waiter for its outcome."""

    __slots__ = ("call_id", "race")

    def __init__(self, race: Race) -> None:
        self.race = race
        self.call_id = 0

    def done(self) -> bool:
        """Never before its outcome came: the race must hear of each."""
        return False

    def set_result(self, result: Any, /) -> None:
        self.race.on_value(self, result)

    def set_exception(self, exception: BaseException, /) -> None:
        self.race.on_error(self, exception)


class Race:
    """One hedged call: the legs that are under way, and what it ends with."""

    __slots__ = ("_began", "_call_id", "_error", "_hedging", "_legs", "_measured", "_options",
                 "_timer", "_waiter")  # fmt: skip

    _measured: Measured

    def __init__(self, hedging: Hedging, options: CallOptions, waiter: Waiter) -> None:
        self._hedging = hedging
        self._options = options
        self._waiter = waiter
        self._began = hedging.port.now()
        self._call_id = 0
        self._legs: list[Leg] = []
        self._timer: Timer | None = None
        self._error: BaseException | None = None
        """Of the leg that failed first."""

    def begin(self, leg: Leg, measured: Measured) -> None:
        """The first leg is sent."""
        self._call_id = leg.call_id
        self._legs.append(leg)
        self._measured = measured
        delay: float | None = self._options.hedge
        if self._options.quantile is not None:
            delay = measured.latencies.quantile(self._options.quantile)
        if delay is not None:
            self._timer = self._hedging.port.call_later(max(LEAST_HEDGE, delay), self._on_time)

    def _on_time(self) -> None:
        self._timer = None
        hedging, measured = self._hedging, self._measured
        other = hedging.calls.spare_for(self._call_id)
        if other is None:
            return
        if not measured.budget.take(hedging.port.now(), measured.calls):
            hedging.denied += 1
            return
        leg, beside = Leg(self), self._options.legs[1]
        self._legs.append(leg)
        leg.call_id = hedging.calls.send_also(self._call_id, other, beside, leg)
        hedging.sent += 1

    def on_value(self, leg: Leg, value: Any) -> None:
        """The first value ends the call."""
        seconds = self._hedging.port.now() - self._began
        self._legs.remove(leg)
        if leg.call_id == self._call_id:
            self._end()
        else:
            self._hedging.won += 1
            self._end(count_for=seconds)
        if self._options.quantile is not None:
            self._measured.latencies.add(seconds)
        if not self._waiter.done():
            self._waiter.set_result(value)

    def on_error(self, leg: Leg, error: BaseException) -> None:
        """Of the only leg: the outcome, if that before says not more. Else the other goes on."""
        if self._error is None or _weight(error) > _weight(self._error):
            self._error = error
        self._legs.remove(leg)
        if self._legs:
            self._hedging.calls.go_on(self._legs[0].call_id, self._options.legs[0])
            return
        self._end()
        if self._options.quantile is not None and isinstance(error, CallTimeout):
            self._measured.latencies.add(self._hedging.port.now() - self._began)
        if not self._waiter.done():
            self._waiter.set_exception(self._error)

    def on_suspect(self, handle: Handle) -> None:
        """A peer may be dying: the leg there is given up, if there is another."""
        calls = self._hedging.calls
        for leg in self._legs if len(self._legs) > 1 else ():
            if calls.is_at(leg.call_id, handle):
                calls.drop(leg.call_id)
                self.on_error(leg, PeerLost(f"the peer {handle.peer.name} is suspect"))
                return

    def cancel(self) -> None:
        """The caller gave up."""
        self._end()

    def _end(self, count_for: float = 0.0) -> None:
        """No leg goes on."""
        del self._hedging.races[self._call_id]
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for leg in self._legs:
            self._hedging.calls.drop(leg.call_id, count_for)
        self._legs.clear()


def _weight(error: BaseException) -> int:
    """What an error says: that nothing was started, that it may have run, what came of it."""
    if isinstance(error, Overloaded | NoProvider):
        return 0
    return 1 if isinstance(error, CallTimeout | PeerLost) else 2
