"""How far a file is: a bar on a terminal, nothing elsewhere."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["bar"]


@contextmanager
def bar(what: str, size: int) -> Iterator[Callable[[int], None]]:
    """A bar on stderr, if that is a terminal; the function is told how many bytes are done."""
    if not sys.stderr.isatty():
        yield lambda done: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    colors: Any = None if os.environ.get("NO_COLOR") else "auto"
    console = Console(stderr=True, markup=False, emoji=False, highlight=False, color_system=colors)
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(what, total=size)
        yield lambda done: progress.update(task, completed=done)
