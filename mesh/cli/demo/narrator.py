"""Tells the demo to people as it goes, or not at all when the output is for programs."""

from __future__ import annotations

from typing import Protocol

from mesh.cli.output import make_console
from mesh.cli.text import printable

__all__ = ["Narrator", "Silent", "Speaking"]

MARGIN = 4
"""Columns before what belongs to a heading."""

MOST_COLUMNS = 100
"""Longer lines of words are hard to read, however wide the terminal is."""


class Narrator(Protocol):
    """What the demo has to say."""

    def title(self, mesh_name: str) -> None: ...

    def heading(self, number: int, title: str, words: str, code: str) -> None: ...

    def line(self, claim: str, ok: bool, seen: str) -> None: ...

    def end(self, held: int, made: int, seconds: float) -> None: ...


class Silent:
    """For ``--json``."""

    def title(self, mesh_name: str) -> None:
        return

    def heading(self, number: int, title: str, words: str, code: str) -> None:
        return

    def line(self, claim: str, ok: bool, seen: str) -> None:
        return

    def end(self, held: int, made: int, seconds: float) -> None:
        return


class Speaking:
    """For people: headings, plain words, and a line for each claim."""

    def __init__(self) -> None:
        self._console = make_console()
        self._console.width = min(self._console.width, MOST_COLUMNS)
        can_tick = self._console.encoding.lower().replace("-", "") == "utf8"
        self._tick, self._cross = ("✓", "✗") if can_tick else ("ok", "FAILED")

    def title(self, mesh_name: str) -> None:
        self._print(f"A mesh of processes on this machine, named {mesh_name}", "bold")
        self._print("No broker, no server, no configuration; this terminal is one of its nodes.")

    def heading(self, number: int, title: str, words: str, code: str) -> None:
        self._console.print()
        self._print(f"{number:>2}  {title}", "bold cyan")
        self._print(words, "", MARGIN)
        if code:
            self._print(code, "green", MARGIN)

    def line(self, claim: str, ok: bool, seen: str) -> None:
        from rich.table import Table
        from rich.text import Text

        text = Text(claim)
        if seen:
            text.append(
                f" ({seen})" if ok else f": instead, {printable(seen)}", "dim" if ok else ""
            )
        row = Table.grid(padding=(0, 1, 0, 0))
        row.add_column(width=MARGIN - 1)
        row.add_column(no_wrap=True)
        row.add_column()
        row.add_row(
            "",
            Text(self._tick if ok else self._cross, style="bold green" if ok else "bold red"),
            text,
        )
        self._console.print(row)

    def end(self, held: int, made: int, seconds: float) -> None:
        self._console.print()
        if held == made > 0:
            words = f"All {made} claims held, in {seconds:.1f} s; every process has ended."
            self._print(words, "bold green")
            return
        words = f"{made - held} of {made} claims did not hold; every process has ended."
        self._print(words, "bold red")

    def _print(self, words: str, style: str = "", margin: int = 0) -> None:
        from rich.padding import Padding
        from rich.text import Text

        self._console.print(Padding(Text(words, style=style), (0, 0, 0, margin), expand=False))
