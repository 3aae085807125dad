"""``Target``: one decoder under test, and what may come out of it."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass

from mesh.wire.frames import BadFrame

__all__ = ["MAX_TEXT", "Target", "place_of"]

MAX_TEXT = 1000
"""Characters of a refusal: it goes into a log, and must not carry the input there."""


def _nothing(data: bytes, result: object) -> Hashable:
    return None


@dataclass(frozen=True)
class Target:
    """``decode`` takes any bytes: it returns, or raises one of ``refuses``, and nothing else.

    ``seeds`` are inputs that it takes, made by the project's own encoders. ``law(data, result)``
    raises AssertionError for a result that may not be; what else it returns tells results apart, so
    that an input with a new one is worth mutating further. From byte ``packed_at`` on an input is
    msgpack, None if none of it is. ``is_costly`` ones (whole nodes, in memory) get fewer inputs.
    ``is_own`` says that the input is its reader's own, so a refusal may repeat it.
    """

    name: str
    decode: Callable[[bytes], object]
    seeds: tuple[bytes, ...]
    refuses: tuple[type[BaseException], ...] = (BadFrame,)
    law: Callable[[bytes, object], Hashable] = _nothing
    packed_at: int | None = 0
    is_costly: bool = False
    is_own: bool = False


def place_of(error: BaseException) -> Hashable:
    """Where it was raised, and what of."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = (trace.tb_frame.f_code, trace.tb_lineno) if trace is not None else None
    return type(error), place, type(error.__cause__)
