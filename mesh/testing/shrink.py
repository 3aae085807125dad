"""From a failing plan to a minimal one: delta debugging, for steps of any kind.

A plan that fails is a poor story while most of its steps have nothing to do with the failure.
``shrink`` drops steps as long as it still fails, in halves, quarters and so on down to single
steps (Zeller and Hildebrandt's *ddmin*): the result fails, and without any one of its steps it
does not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

__all__ = ["shrink"]

T = TypeVar("T")

MAX_ATTEMPTS = 2000
"""Runs of a plan; what is left after so many is given as it is."""


def shrink(
    steps: Sequence[T],
    fails: Callable[[tuple[T, ...]], bool],
    *,
    max_attempts: int = MAX_ATTEMPTS,
) -> tuple[T, ...]:
    """The shortest part of ``steps`` found for which ``fails`` is still true, in their order.

    ``fails(steps)`` runs a plan and must say the same each time for the same steps; it is called
    ``max_attempts`` times at most. Raises ValueError when the whole plan does not fail.
    """
    current = tuple(steps)
    if not fails(current):
        raise ValueError("the plan does not fail as it is: there is nothing to shrink")
    if fails(()):
        return ()
    attempts, parts = 2, 2
    while len(current) > 1:
        size = -(-len(current) // parts)
        for start in range(0, len(current), size):
            if attempts >= max_attempts:
                return current
            attempts += 1
            rest = current[:start] + current[start + size :]
            if fails(rest):
                current, parts = rest, max(parts - 1, 2)
                break
        else:
            if size == 1:
                break
            parts = min(2 * parts, len(current))
    return current
