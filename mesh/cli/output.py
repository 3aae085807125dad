"""What commands print: tables for people, JSON for programs.

rich is imported where a table is made: commands without one start faster. It keeps NO_COLOR, and
nothing from another node is read as its markup.
"""

from __future__ import annotations

import os
import select
import stat
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from mesh.cli.text import printable
from mesh.cli.values import to_json

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["make_console", "print_json", "print_table", "print_text", "reader_is_gone"]

UNLIMITED_COLUMNS = 10_000
"""Width when the output is no terminal: one row stays one line for grep and awk."""


def make_console() -> Console:
    """A console on stdout that fits the terminal and takes no text for markup."""
    from rich.console import Console

    is_bound = sys.stdout.isatty() or os.environ.get("COLUMNS", "").isdigit()
    width = None if is_bound else UNLIMITED_COLUMNS
    return Console(markup=False, emoji=False, highlight=False, width=width)


def print_table(
    columns: Sequence[str], rows: Sequence[Sequence[str]], *, fixed: Sequence[str] = ()
) -> None:
    """A table without lines; columns that are empty in every row are left out.

    :param fixed: columns that are never wrapped; the others share what is left of the width
    """
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    shown = [i for i in range(len(columns)) if any(row[i] for row in rows)]
    for i in shown:
        table.add_column(columns[i].upper(), no_wrap=columns[i] in fixed, overflow="fold")
    for row in rows:
        table.add_row(*(printable(row[i]) for i in shown))
    make_console().print(table)


def print_json(value: Any, *, is_line: bool = False) -> None:
    """One JSON document; ``is_line`` keeps it on one line, as streams need it."""
    click.echo(to_json(value, indent=None if is_line else 2))


def print_text(text: str) -> None:
    """Text from another node: as it is into a file or pipe, harmless on a terminal."""
    click.echo(printable(text) if sys.stdout.isatty() else text)


def reader_is_gone() -> bool:
    """Whether stdout is a pipe that nobody reads any more; a write would only then tell."""
    try:
        descriptor = sys.stdout.fileno()
        if not stat.S_ISFIFO(os.fstat(descriptor).st_mode):
            return False
    except (OSError, ValueError):
        return False
    poll = select.poll()
    poll.register(descriptor, 0)
    return any(events & select.POLLERR for _, events in poll.poll(0))
