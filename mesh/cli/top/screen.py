"""Lines of text on a terminal, in place; colours are an addition to what the text says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live
from rich.text import Text

from mesh.cli.output import make_console
from mesh.cli.top.table import BAD, DIM, HEAD, SORTED, WARN, Line

__all__ = ["Screen", "full_screen", "print_lines", "text_of"]

STYLES = {WARN: "yellow", BAD: "bold red", HEAD: "bold", SORTED: "bold underline", DIM: "dim"}


class Screen:
    """The whole terminal, its lines drawn at once."""

    def __init__(self, console: Console, live: Live) -> None:
        self._console = console
        self._live = live

    @property
    def size(self) -> tuple[int, int]:
        """Columns and rows."""
        return self._console.size.width, self._console.size.height

    def draw(self, lines: Sequence[Line]) -> None:
        self._live.update(text_of(lines), refresh=True)


@contextmanager
def full_screen() -> Iterator[Screen]:
    """The terminal's other screen; what was there before is there again afterwards."""
    console = make_console()
    with Live(console=console, screen=True, auto_refresh=False) as live:
        yield Screen(console, live)


def print_lines(lines: Sequence[Line]) -> None:
    """The same as a part of the output."""
    make_console().print(text_of(lines), soft_wrap=True)


def text_of(lines: Sequence[Line]) -> Text:
    """With their styles, none of which a terminal must have."""
    text = Text(no_wrap=True, overflow="crop", end="")
    for number, line in enumerate(lines):
        if number:
            text.append("\n")
        for part, style in line:
            text.append(part, STYLES.get(style, ""))
    return text
