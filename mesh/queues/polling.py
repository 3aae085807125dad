"""Waiting for what tells nobody that it has come; only at the end of nodes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

__all__ = ["until"]

LOOK_AGAIN = 0.01
"""Seconds between two looks."""


async def until(is_so: Callable[[], object]) -> None:
    """Return when it is so."""
    while not is_so():  # noqa: ASYNC110  see above
        await asyncio.sleep(LOOK_AGAIN)
