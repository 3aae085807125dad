"""Reading what comes until somebody has had enough: the user, or the reader of our output."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol, TypeVar

import mesh
from mesh.cli.output import reader_is_gone

__all__ = ["LOOK_EVERY", "Stream", "until_gone"]

LOOK_EVERY = 0.25
"""Seconds between looks whether the reader of the pipe has gone while nothing comes."""

T_co = TypeVar("T_co", covariant=True)


class Stream(Protocol[T_co]):
    """What ``Node.subscribe`` and ``Node.watch`` give, as far as it is used here."""

    def get(self, timeout: float | None = None) -> T_co: ...


def until_gone(stream: Stream[T_co], idle: Callable[[], None] | None = None) -> Iterator[T_co]:
    """The items; ends also when nobody reads our output any more, though nothing comes.

    :param idle: called now and then while nothing comes
    """
    while True:
        try:
            item = stream.get(timeout=LOOK_EVERY)
        except mesh.Timeout:
            if reader_is_gone():
                return
            if idle is not None:
                idle()
            continue
        except mesh.NodeClosed:
            return
        yield item
