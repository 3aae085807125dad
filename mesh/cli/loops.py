"""A command that lives on an event loop of its own, and how a signal ends it.

The handlers of ``mesh.cli.app`` raise wherever the program is just then, which on a loop may be in
the midst of a node's work. Here the signal cancels the command, which cleans up and ends.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Coroutine
from typing import Any

from mesh.cli import errors
from mesh.cli.output import reader_is_gone
from mesh.cli.streams import LOOK_EVERY

__all__ = ["new_loop", "run_until_signal", "wipe_interrupt"]

STDERR = 2


def wipe_interrupt() -> None:
    """Wipe out the ^C that the terminal shows: what is printed from here on begins a line."""
    if os.isatty(STDERR):
        os.write(STDERR, b"\r  \r")


def run_until_signal(work: Coroutine[Any, Any, None]) -> int:
    """Run it until it ends, a signal comes or nobody reads stdout any more; the exit code."""
    with asyncio.Runner(loop_factory=new_loop) as runner:
        return runner.run(_until_signal(work))


async def _until_signal(work: Coroutine[Any, Any, None]) -> int:
    loop = asyncio.get_running_loop()
    working = loop.create_task(work)
    watching = loop.create_task(_until_reader_is_gone())
    numbers: list[int] = []

    def stop(number: int) -> None:
        if number == signal.SIGINT:
            wipe_interrupt()
        numbers.append(number)
        working.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup leaves it
            loop.add_signal_handler(number, stop, number)
    try:
        await asyncio.wait({working, watching}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        watching.cancel()
        working.cancel()
        await asyncio.wait({working, watching})
    if not working.cancelled():
        working.result()  # what it raised
    return 128 + numbers[0] if numbers else errors.OK


async def _until_reader_is_gone() -> None:
    while not reader_is_gone():  # noqa: ASYNC110  a pipe has no event for it
        await asyncio.sleep(LOOK_EVERY)


def new_loop() -> asyncio.AbstractEventLoop:
    """uvloop's where it is installed."""
    if sys.platform == "win32":
        return asyncio.new_event_loop()
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop
