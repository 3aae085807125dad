"""Rows as lines of text: numbers with units, columns that fit, the order, and what is filtered.

Pure: a line is a list of texts, each with one of ``FINE WARN BAD HEAD SORTED DIM``; what that looks
like is the screen's business, and no meaning hangs on it alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from rich.cells import cell_len, set_cell_size

from mesh.cli.text import printable

__all__ = [
    "BAD",
    "DIM",
    "FINE",
    "HEAD",
    "SORTED",
    "TROUBLE",
    "WARN",
    "Column",
    "Line",
    "Row",
    "ago",
    "chosen",
    "count",
    "grown",
    "lines",
    "ordered",
    "percent",
    "rate",
    "seconds",
]

FINE, WARN, BAD, HEAD, SORTED, DIM = range(6)

MARKS = {FINE: " ", WARN: "*", BAD: "!"}
"""Before a row: the same as its colour says."""

TROUBLE = "trouble"
"""The order in which what needs a look comes first."""

GAP = "  "

MAX_CELL = 40
"""Characters of a cell: names may have more, and the numbers matter."""

UNKNOWN = "-"

Line: TypeAlias = list[tuple[str, int]]
"""Texts and their styles."""


@dataclass(slots=True)
class Row:
    """``key`` says what it is, from one look to the next; ``values`` are numbers, texts or None."""

    key: str
    values: Mapping[str, Any]
    severity: int = field(default=FINE)

    def __getitem__(self, name: str) -> Any:
        return self.values[name]


@dataclass(frozen=True, slots=True)
class Column:
    """``key`` is what it is sorted by, ``rank`` when it goes: those with the highest go first.

    One that ``is_optional`` is left out where no row has anything in it.
    """

    key: str
    title: str
    show: Callable[[Row], str]
    rank: int
    is_text: bool = False
    is_optional: bool = False
    style: Callable[[Row], int] = lambda _: FINE


# Numbers.


def rate(per_second: float | None) -> str:
    """ "0", "0.5", "12", "9,876", "12.3k", "4.5M": at most six characters."""
    if per_second is None:
        return UNKNOWN
    if 0 < per_second < 0.05:
        return "<0.1"
    if per_second < 9.95:
        return f"{per_second:.1f}" if per_second else "0"
    return count(per_second)


def count(number: float | None) -> str:
    """ "0", "9,876", "12.3k", "4.5M"."""
    if number is None:
        return UNKNOWN
    if number < 9_999.5:
        return f"{number:,.0f}"
    for size, unit in ((1e3, "k"), (1e6, "M"), (1e9, "G")):
        if number < 999.95 * size:
            return f"{number / size:.1f}{unit}"
    return f"{number / 1e12:.1f}T"


def seconds(time: float | None) -> str:
    """ "16 µs", "1.4 ms", "90 ms", "1.4 s", "12 s", "5 min", "3 h"."""
    if time is None:
        return UNKNOWN
    if math.isinf(time):
        return ">67 s"
    for limit, size, unit in ((1e-3, 1e-6, "µs"), (0.9995, 1e-3, "ms"), (119.5, 1.0, "s")):
        if time < limit:
            return f"{time / size:.{1 if 0 < time / size < 9.95 else 0}f} {unit}"
    return f"{time / 60:.0f} min" if time < 7200 else f"{time / 3600:.0f} h"


def ago(time: float) -> str:
    """ "0 s", "12 s", "5 min", "3 h": how long something has been so."""
    return f"{time:.0f} s" if time < 119.5 else seconds(time)


def percent(share: float | None) -> str:
    """ "12%": of one processor."""
    return UNKNOWN if share is None else f"{share * 100:.0f}%"


def grown(row: Row, name: str) -> str:
    """A total, and what came since the last look: "120", "120+5"."""
    new = row[f"{name}_new"]
    return count(row[name]) + (f"+{count(new)}" if new else "")


# Which rows, and in which order.


def ordered(rows: Iterable[Row], by: str, *, is_reversed: bool) -> list[Row]:
    """By a column: the largest numbers first, texts from A, the unknown last; or by trouble.

    Equal ones stand in the order of their names, so that rows do not jump about.
    """
    named = sorted(rows, key=lambda row: (str(next(iter(row.values.values()))), row.key))
    if by == TROUBLE:
        return sorted(named, key=lambda row: row.severity, reverse=not is_reversed)
    known = [row for row in named if row.values.get(by) is not None]
    unknown = [row for row in named if row.values.get(by) is None]
    is_text = all(isinstance(row[by], str) for row in known)
    if is_text:
        known.sort(key=lambda row: row[by].lower(), reverse=is_reversed)
    else:
        known.sort(key=lambda row: float(row[by]), reverse=not is_reversed)
    return known + unknown


def chosen(rows: Iterable[Row], columns: Sequence[Column], words: str) -> list[Row]:
    """Those with all of these words in their texts; "!word" is without it."""
    wanted = words.lower().split()
    if not wanted:
        return list(rows)
    texts = [column for column in columns if column.is_text]

    def fits(row: Row) -> bool:
        text = " ".join([row.key, *(column.show(row) for column in texts)]).lower()
        return all(
            (word[1:] not in text) if word.startswith("!") and len(word) > 1 else word in text
            for word in wanted
        )

    return [row for row in rows if fits(row)]


# Lines.


def lines(
    columns: Sequence[Column],
    rows: Sequence[Row],
    width: int,
    *,
    sorted_by: str = "",
    cursor: str | None = None,
) -> list[Line]:
    """The head and a line for each row, at most ``width`` characters long.

    Columns with the highest rank are left out where there is no room; the first one never is.
    """
    cells = [[_cell(column.show(row)) for column in columns] for row in rows]
    widths = [
        max([len(column.title), *(cell_len(line[i]) for line in cells)])
        for i, column in enumerate(columns)
    ]
    present = [
        i
        for i, column in enumerate(columns)
        if not column.is_optional or any(line[i] not in ("", UNKNOWN) for line in cells)
    ]
    shown = _fitting(present, columns, widths, width - 2)
    if len(shown) == 1:
        widths[shown[0]] = min(widths[shown[0]], max(1, width - 2))
    head: Line = [("  ", HEAD)]
    for i in shown:
        title = columns[i].title.upper()
        style = SORTED if columns[i].key == sorted_by else HEAD
        head += _padded(title, widths[i], columns[i].is_text, style, is_last=i == shown[-1])
    result = [head]
    for row, texts in zip(rows, cells, strict=True):
        mark = MARKS[row.severity]
        line: Line = [(f"{'>' if row.key == cursor else ' '}{mark}", row.severity)]
        for i in shown:
            column = columns[i]
            style = DIM if texts[i] in (UNKNOWN, "0", "0%") else column.style(row)
            line += _padded(texts[i], widths[i], column.is_text, style, is_last=i == shown[-1])
        result.append(line)
    return result


def _fitting(
    present: Sequence[int], columns: Sequence[Column], widths: Sequence[int], room: int
) -> list[int]:
    shown = list(present)
    while len(shown) > 1 and sum(widths[i] for i in shown) + len(GAP) * (len(shown) - 1) > room:
        shown.remove(max(shown, key=lambda i: columns[i].rank))
    return shown


def _padded(text: str, width: int, is_text: bool, style: int, *, is_last: bool) -> Line:
    cut = _cut(text, width)
    blanks = " " * (width - cell_len(cut))
    padded = [(cut, style), (blanks, FINE)] if is_text else [(blanks, FINE), (cut, style)]
    return padded if is_last else [*padded, (GAP, FINE)]


def _cell(text: str) -> str:
    return _cut(printable(text).replace("\n", " ").replace("\t", " "), MAX_CELL)


def _cut(text: str, width: int) -> str:
    """At most so many columns of a terminal; some characters take two."""
    return text if cell_len(text) <= width else f"{set_cell_size(text, max(0, width - 1))}…"
