"""The hints of one source: drops the node's own, remembers the distinct ones, hands them on.

Each hint is handed on in a loop callback of its own, so that what a consumer raises is reported by
the loop and stops no source. A source that hears the same node again tells it again: the consumer
may have given up on it since.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace

from discovery.source import Candidate

MAX_REMEMBERED = 4_096
"""Candidates a source remembers: four times the largest mesh meant for one network. One that was
forgotten is only counted anew when it is heard again."""


class Hints:
    """Hands the candidates of one source to `found`, on the running loop, until closed.

    `own_id`: the node that listens; its own announcements come back to it and are dropped.
    """

    def __init__(self, own_id: str, found: Callable[[Candidate], None]) -> None:
        self._own_id = own_id
        self._found = found
        self._loop = asyncio.get_running_loop()
        self._known: OrderedDict[str, Candidate] = OrderedDict()
        self._closed = False

    @property
    def known(self) -> tuple[Candidate, ...]:
        """The distinct candidates that were not withdrawn."""
        return tuple(self._known.values())

    @property
    def is_empty(self) -> bool:
        """Is nobody known?"""
        return not self._known

    def is_own(self, candidate: Candidate) -> bool:
        """Is it the node itself?"""
        return candidate.id == self._own_id

    def offer(self, candidate: Candidate) -> None:
        """Hand on `candidate`, unless it is the node itself."""
        if self._closed or self.is_own(candidate):
            return
        self._known[candidate.key] = candidate
        self._known.move_to_end(candidate.key)
        if len(self._known) > MAX_REMEMBERED:
            self._known.popitem(last=False)
        self._loop.call_soon(self._tell, candidate)

    def withdraw(self, key: str) -> None:
        """That one (`Candidate.key`) said goodbye, or is not listed any more."""
        candidate = self._known.pop(key, None)
        if candidate is not None and not self._closed:
            self._loop.call_soon(self._tell, replace(candidate, is_gone=True))

    def close(self) -> None:
        """Hand on nothing more, not even what was offered before."""
        self._closed = True

    def _tell(self, candidate: Candidate) -> None:
        if not self._closed:
            self._found(candidate)
