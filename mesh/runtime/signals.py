"""SIGINT and SIGTERM as requests to stop, for every node that runs at the moment.

By ``signal.signal`` and not by the loop: several nodes on one loop share the signals, and what the
program had set before is put back by the last.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

__all__ = ["stop_on_signals"]

_stops: list[Callable[[], object]] = []
_before: dict[signal.Signals, Any] = {}


def _forget_in_child() -> None:
    """What runs is the parent's business; the child takes signals as if nothing did."""
    _stops.clear()
    _put_back()


os.register_at_fork(after_in_child=_forget_in_child)


def _put_back() -> None:
    while _before:
        number, handler = _before.popitem()
        # None: it was set by other means than Python, which cannot put it back.
        signal.signal(number, signal.SIG_DFL if handler is None else handler)


def _on_signal(number: int, frame: FrameType | None) -> None:
    for stop in tuple(_stops):
        stop()


@contextlib.contextmanager
def stop_on_signals(stop: Callable[[], object]) -> Iterator[None]:
    """Call ``stop`` at SIGINT and SIGTERM; it may run between any two instructions.

    Does nothing outside the main thread: Python gives signals to that one only.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _stops.append(stop)
    try:
        if not _before:
            for number in (signal.SIGINT, signal.SIGTERM):
                _before[number] = signal.signal(number, _on_signal)
        yield
    finally:
        if stop in _stops:  # and not in a forked child
            _stops.remove(stop)
        if not _stops:
            _put_back()
