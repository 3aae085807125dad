"""Numbers as people read them, and what tables do with the width they are given."""

from __future__ import annotations

import pytest

from mesh.cli.output import print_data, print_table
from mesh.cli.text import bytes_of, milliseconds, rate_of
from mesh.cli.values import size_of

COLUMNS = ("name", "address", "services", "tags")
ROWS = [
    (
        "inventory-service",
        "192.168.100.200:55555",
        "inventory, paths, stock",
        "zone=eu, k=" + "v" * 60,
    ),
    ("calc", "127.0.0.1:1", "", "title=\u6f22\u5b57\u6f22\u5b57\u6f22\u5b57"),
]


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (2e6, "2.0 MB"), (3.2e9, "3.2 GB")],
)
def test_bytes(number: float, text: str) -> None:
    assert bytes_of(number) == text


def test_rates_and_times() -> None:
    assert rate_of(0.52) == "0.5 msg/s"
    assert rate_of(12345.6) == "12,346 msg/s"
    assert milliseconds(0.000421) == "0.42 ms"


def test_the_size_of_a_value_is_that_of_its_data() -> None:
    assert [size_of(v) for v in (b"\x00\xff", "\u2713", "", 21.5, None, {"a": 1})] == [
        2,
        3,
        0,
        4,
        4,
        8,
    ]


def test_raw_data_is_bytes_unchanged_and_all_else_a_line(
    capfdbinary: pytest.CaptureFixture[bytes],
) -> None:
    for value in ("text", {"id": 7}, b"\x00bytes\xff", "more"):
        print_data(value)
    assert capfdbinary.readouterr().out == b'text\n{"id": 7}\n\x00bytes\xffmore\n'


def cells(line: str) -> int:
    from rich.cells import cell_len

    return cell_len(line.rstrip())


@pytest.mark.parametrize("columns", [20, 40, 80, 120])
def test_a_table_fits_the_width_and_loses_nothing(
    columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    print_table(COLUMNS, ROWS, details=("services", "tags"))
    shown = capsys.readouterr().out
    assert max(map(cells, shown.splitlines())) <= columns
    together = "".join(shown.split())
    for row in ROWS:
        for cell in row[2:]:
            assert cell.replace(" ", "") in together
    if columns >= 80:
        assert "inventory-service" in shown


def test_what_has_no_room_beside_goes_below_and_no_cell_is_cut(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    columns = ("peer", "sent", "lost", "min", "avg", "max")
    row = ("calc/1a2b3c4d", "4", "2 (50%)", "0.12 ms", "34.56 ms", "789.01 ms")
    for width in (20, 30, 40, 50, 80):
        monkeypatch.setenv("COLUMNS", str(width))
        print_table(columns, [row, row])
        shown = capsys.readouterr().out
        assert max(map(cells, shown.splitlines())) <= width
        assert all(shown.count(cell) >= 2 for cell in row), shown


def test_without_a_terminal_or_a_width_a_row_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    print_table(COLUMNS, ROWS, details=("services", "tags"))
    assert len(capsys.readouterr().out.splitlines()) == 1 + len(ROWS)


def test_a_line_end_in_a_cell_makes_no_row_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("name", "state"), [("calc\nshop   alive", "failed")])
    _, row = capsys.readouterr().out.splitlines()
    assert "calc\\nshop" in row
