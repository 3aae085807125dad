"""What commands print: tables for people, JSON for programs.

rich is imported where a table is made: commands without one start faster. It keeps NO_COLOR, and
nothing from another node is read as its markup.
"""

from __future__ import annotations

import os
import select
import stat
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from mesh.cli.text import printable
from mesh.cli.values import to_json

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table

__all__ = [
    "live_table",
    "make_console",
    "print_data",
    "print_json",
    "print_table",
    "print_text",
    "reader_is_gone",
]

UNLIMITED_COLUMNS = 10_000
"""Width when the output is no terminal: one row stays one line for grep and awk."""


GAP = 2
"""Columns between those of a table."""

MOST_ALIGNED = 24
"""Of a cell: one that is longer may be folded to let the others fit."""


def make_console() -> Console:
    """A console on stdout that fits the terminal and takes no text for markup."""
    from rich.console import Console

    is_bound = sys.stdout.isatty() or os.environ.get("COLUMNS", "").isdigit()
    width = None if is_bound else UNLIMITED_COLUMNS
    # rich would still print bold where it prints no colour.
    colors: Any = None if os.environ.get("NO_COLOR") else "auto"
    return Console(markup=False, emoji=False, highlight=False, width=width, color_system=colors)


def print_table(
    columns: Sequence[str], rows: Sequence[Sequence[str]], *, details: Sequence[str] = ()
) -> None:
    """A table without lines; columns that are empty in every row are left out.

    :param details: columns that move to a line below each row when the table would be too wide;
        where that is not enough others follow them, the last ones first
    """
    console = make_console()
    console.print(_fitted(console, columns, rows, details))


@contextmanager
def live_table(
    columns: Sequence[str], *, details: Sequence[str] = ()
) -> Iterator[Callable[[Sequence[Sequence[str]]], None]]:
    """A table on a terminal that is drawn again, in place, each time the function gets its rows."""
    from rich.live import Live

    console = make_console()
    with Live(console=console, auto_refresh=False, vertical_overflow="ellipsis") as live:
        yield lambda rows: live.update(_fitted(console, columns, rows, details), refresh=True)


def _fitted(
    console: Console,
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    details: Sequence[str],
) -> RenderableType:
    """The table as wide as the console, its details below the rows if need be."""
    from rich.cells import cell_len
    from rich.console import Group

    shown = [i for i in range(len(columns)) if any(row[i] for row in rows)]
    titles = [columns[i] for i in shown]
    cells = [[printable(row[i]).replace("\n", "\\n") for i in shown] for row in rows]
    widths = [max(map(cell_len, column)) for column in zip(titles, *cells, strict=True)]
    least = [min(width, MOST_ALIGNED) for width in widths]
    if _width(widths) <= console.width or (not details and _width(least) <= console.width):
        return _table(titles, cells, [1] * len(titles))
    kept = [i for i, title in enumerate(titles) if title not in details]
    while len(kept) > 1 and _width([least[i] for i in kept]) > console.width:
        kept.pop()
    parts: list[RenderableType] = []
    for number, row in enumerate(cells):
        aligned = [least[i] for i in kept]
        main = _table([titles[i] for i in kept], [[row[i] for i in kept]], aligned)
        main.show_header = number == 0
        parts.append(main)
        parts += [
            _detail(titles[i], row[i]) for i in range(len(titles)) if i not in kept and row[i]
        ]
    return Group(*parts)


def _width(columns: Sequence[int]) -> int:
    return sum(columns) + GAP * len(columns)


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]], least: Sequence[int]) -> Table:
    """``least`` are the least widths; with them, tables of one row each line up."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="bold")
    for title, width in zip(titles, least, strict=True):
        table.add_column(title.upper(), min_width=width, overflow="fold")
    for row in rows:
        table.add_row(*row)
    return table


def _detail(title: str, value: str) -> RenderableType:
    from rich.padding import Padding
    from rich.text import Text

    text = Text(f"{title}: ", style="dim").append(value, "not dim")
    return Padding(text, (0, 0, 0, GAP), expand=False)


def print_json(value: Any, *, is_line: bool = False) -> None:
    """One JSON document; ``is_line`` keeps it on one line, as streams need it."""
    click.echo(to_json(value, indent=None if is_line else 2))


def print_text(text: str) -> None:
    """Text from another node: as it is into a file or pipe, harmless on a terminal."""
    click.echo(printable(text) if sys.stdout.isatty() else text)


def print_data(value: Any) -> None:
    """Data and nothing else: bytes unchanged, all else as a line. On a terminal always a line."""
    if isinstance(value, bytes | bytearray | memoryview) and not sys.stdout.isatty():
        sys.stdout.flush()
        sys.stdout.buffer.write(value)
        sys.stdout.flush()
    else:
        print_text(value if isinstance(value, str) else to_json(value))


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
