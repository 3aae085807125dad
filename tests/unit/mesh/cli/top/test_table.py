"""Numbers as texts, rows in order, and lines that fit."""

from __future__ import annotations

import math
from typing import Any

import pytest
from rich.cells import cell_len

from mesh.cli.top import table
from mesh.cli.top.table import BAD, FINE, TROUBLE, WARN, Column, Row, chosen, lines, ordered


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (None, "-"), (0, "0"), (0.01, "<0.1"), (0.5, "0.5"), (9.9, "9.9"), (9.96, "10"),
        (999.6, "1,000"), (9_999.4, "9,999"), (9_999.6, "10.0k"), (12_345, "12.3k"),
        (999_960, "1.0M"), (4.56e6, "4.6M"), (7e9, "7.0G"), (3e15, "3000.0T"),
    ],
)  # fmt: skip
def test_a_rate_takes_few_characters(number: float | None, text: str) -> None:
    assert table.rate(number) == text


@pytest.mark.parametrize(
    ("time", "text"),
    [
        (None, "-"), (0, "0 µs"), (16e-6, "16 µs"), (0.0014, "1.4 ms"), (0.09, "90 ms"),
        (0.9996, "1.0 s"), (1.44, "1.4 s"), (12.2, "12 s"), (119, "119 s"), (300, "5 min"),
        (10_800, "3 h"), (math.inf, ">67 s"),
    ],
)  # fmt: skip
def test_times_have_the_unit_that_fits(time: float | None, text: str) -> None:
    assert table.seconds(time) == text


def row(name: str, severity: int = FINE, **values: Any) -> Row:
    return Row(name, {"name": name, **values}, severity)


NAME = Column("name", "name", lambda row: row["name"], rank=0, is_text=True)
RATE = Column("rate", "rate/s", lambda row: table.rate(row["rate"]), rank=1)
NOTE = Column(
    "note", "note", lambda row: row.values.get("note", ""), 2, is_text=True, is_optional=True
)
ROWS = [row("b", rate=5), row("A", rate=None), row("c", BAD, rate=0), row("d", WARN, rate=50)]


def keys(rows: list[Row]) -> str:
    return "".join(row.key for row in rows)


@pytest.mark.parametrize(
    ("by", "is_reversed", "order"),
    [
        (TROUBLE, False, "cdAb"),
        (TROUBLE, True, "Abdc"),
        ("rate", False, "dbcA"),
        ("rate", True, "cbdA"),
        ("name", False, "Abcd"),
        ("name", True, "dcbA"),
        ("nothing", False, "Abcd"),
    ],
)
def test_rows_are_ordered_and_the_unknown_comes_last(
    by: str, is_reversed: bool, order: str
) -> None:
    assert keys(ordered(ROWS, by, is_reversed=is_reversed)) == order
    assert keys(ordered(ROWS[::-1], by, is_reversed=is_reversed)) == order, "equal ones stand still"


@pytest.mark.parametrize(
    ("words", "found"),
    [("", "bAcd"), ("a", "A"), ("  A  ", "A"), ("a b", ""), ("!a", "bcd"), ("!", ""), ("5", "")],
)
def test_words_choose_rows_by_their_texts(words: str, found: str) -> None:
    assert keys(chosen(ROWS, (NAME, RATE), words)) == found


def text(line: table.Line) -> str:
    return "".join(part for part, _ in line).rstrip()


def test_numbers_stand_right_texts_left_and_marks_say_what_colours_say() -> None:
    shown = [text(line) for line in lines((NAME, RATE, NOTE), ROWS, 80, cursor="d")]
    assert shown == [
        "  NAME  RATE/S",
        "  b        5.0",
        "  A          -",
        " !c          0",
        ">*d         50",
    ], "a column without anything in it is left out"


def test_columns_give_way_by_their_rank_and_the_first_one_never() -> None:
    rows = [row("a" * 30, rate=1, note="lost")]
    columns = (NAME, NOTE, RATE)
    whole = lines(columns, rows, 80)
    assert "NOTE" in text(whole[0])
    assert "NOTE" not in text(lines(columns, rows, 42)[0])
    assert "RATE/S" in text(lines(columns, rows, 42)[0])
    for width in range(3, 80):
        for line in lines(columns, rows, width):
            assert cell_len(text(line)) <= width


def test_a_name_of_any_kind_cannot_break_the_lines() -> None:
    odd = ["\x1b[2J\n\t", "漢字" * 40, "é" * 200, ""]
    shown = lines((NAME, RATE), [row(name, rate=1) for name in odd], 60)
    widths = {cell_len(text(line)) for line in shown}
    assert widths == {cell_len(text(shown[0]))}, "the numbers stand below one another"
    assert not any(c in text(line) for line in shown for c in "\x1b\n\t")
