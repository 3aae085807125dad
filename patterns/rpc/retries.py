"""When a call with ``retry=True`` may be made once more, and after which pause.

Retries cure single faults and kill what is overloaded: if each call is tried three times, a service
that is short of capacity gets three times the calls. So a node has a *budget*: ``SHARE`` of its
calls, and ``PER_SECOND`` for those that make few, as Finagle and Google's SRE book have it. What it
earns is kept for ``WINDOW``. When it is spent, the error that a call has is its outcome.

A pause grows with each try and is drawn between nothing and all of it ("full jitter"), so that
those who were refused together do not come back together.

Two things are no retries and cost nothing: going on to another node when one has *not started* the
call for its own reasons (MOVED, DRAINING, no such method). One is a retry that is always allowed:
the first after a peer was lost. It cannot feed on itself, as a peer is lost once, and the death of
one node, or a rolling restart, must not fail what was in flight there, however much that was.
"""

from __future__ import annotations

from random import Random

from patterns.rpc.budget import Budget

__all__ = ["FIRST_PAUSE", "LONGEST_PAUSE", "MAX_TRIES", "PER_SECOND", "SHARE", "WINDOW", "Retries"]

SHARE = 0.1
"""Retries for each call that is made: overload is amplified by a tenth at most."""

PER_SECOND = 10.0
"""Retries a second whatever is called, for a node that calls seldom."""

WINDOW = 10.0
"""Seconds for which a budget that is not used is kept."""

MAX_TRIES = 4
"""How often a call is sent because others refused it; after that waiting is of no use either."""

FIRST_PAUSE = 0.05
"""Seconds, the longest pause before the first retry; the next ones are twice as long each."""

LONGEST_PAUSE = 2.0
"""Seconds: past it a growing pause only costs deadlines."""


class Retries(Budget):
    """The budget of one node and its pauses."""

    __slots__ = ("_random",)

    def __init__(self, random: Random, now: float) -> None:
        floor = PER_SECOND * WINDOW
        super().__init__(now, share=SHARE, per_second=PER_SECOND, window=WINDOW, floor=floor)
        self._random = random

    def pause(self, tries: int) -> float:
        """Seconds before the next try of a call that has had so many."""
        longest: float = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (tries - 1))
        return longest * self._random.random()
