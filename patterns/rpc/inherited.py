"""The call that a handler serves, for the calls that it makes itself: they end with it.

A runner sets it for each handler that becomes a task or goes to a thread, in the context of that
task or run alone. Whoever calls asks for the deadline on the thread that calls. So no call of a
handler outlives the one that it serves, whose caller would not be there for the result. What a
handler leaves behind, a task of its own say, is free again when the handler has ended.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Protocol

__all__ = ["Serving", "inherited_deadline", "now_serving"]


class Serving(Protocol):
    """A call that is served. ``until`` is its deadline on the clock, None when it has ended."""

    until: float | None


now_serving: ContextVar[Serving | None] = ContextVar("mesh_now_serving", default=None)
"""The call that is served here; None outside of any."""


def inherited_deadline() -> float | None:
    """When the call that is served here is over, on the clock; None outside of any."""
    serving = now_serving.get()
    return None if serving is None else serving.until
