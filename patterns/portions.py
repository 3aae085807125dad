"""What a subscription hands to a handler at once, and the window bytes that it holds meanwhile."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from patterns.messages import Message

__all__ = ["Hold", "Portion"]


class Hold:
    """The window bytes of one received frame, given back when its last holder lets go."""

    __slots__ = ("_holders", "_release", "size")

    def __init__(self, size: int, holders: int, release: Callable[[int], None]) -> None:
        self.size = size
        self._holders = holders
        self._release = release

    def let_go(self) -> None:
        """One holder has consumed its part; calling it once per holder is the holder's duty."""
        self._holders -= 1
        if self._holders == 0:
            self._release(self.size)


class Portion:
    """The messages of one frame for one subscription, and the frame's hold while it lasts.

    ``size`` is the frame's, in bytes: what the messages take here is about that.
    """

    __slots__ = ("arrived", "hold", "messages", "size")

    handler: Callable[[Any], Any] | None = None
    """What handles them, if not the subscription's own handler as it is."""

    def __init__(self, messages: deque[Message], hold: Hold | None, arrived: float) -> None:
        self.messages = messages
        self.hold = hold
        self.arrived = arrived
        self.size = hold.size if hold is not None else 0

    def let_go(self) -> None:
        """Hold back nobody any more."""
        if self.hold is not None:
            self.hold.let_go()
            self.hold = None

    def end(self) -> None:
        """The handler is through with it."""
        self.let_go()
