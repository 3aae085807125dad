"""The arithmetic of the growth, and what is told and drawn of it."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from benchmarks.growth import COLUMNS, Growth, document, split, table
from benchmarks.growth_plot import PANELS, curves, draw

NAMES = {field.name for field in fields(Growth)}
TEN = Growth(nodes=10, **dict.fromkeys(NAMES - {"nodes"}, 2.5))
FIFTY = replace(TEN, nodes=50, all_know_s=1234.5)


@pytest.mark.parametrize(
    ("nodes", "per_process", "shares"),
    [(10, 10, [10]), (25, 10, [10, 10, 5]), (3, 10, [3]), (3, 1, [1, 1, 1])],
)
def test_the_processes_together_have_all_nodes(
    nodes: int, per_process: int, shares: list[int]
) -> None:
    assert split(nodes, per_process) == shares


def test_a_table_has_a_line_for_each_size() -> None:
    lines = table([TEN, FIFTY]).splitlines()
    assert len(lines) == 2 + 2
    assert lines[3].startswith("| 50 | 1,234.50 | 2.50 |")
    assert {line.count("|") for line in lines} == {len(COLUMNS) + 1}


def test_what_is_shown_is_measured() -> None:
    assert {field for _, field, _ in COLUMNS} <= NAMES
    assert {field for field, _ in PANELS} <= NAMES


def test_a_curve_goes_from_the_smallest_mesh_to_the_largest() -> None:
    found = curves(document([FIFTY, TEN], 10, {}))
    assert found[0].nodes == (10, 50)
    assert found[0].values == (2.5, 1234.5)
    assert len(found) == len(PANELS)


def test_without_figures_there_is_nothing_to_draw() -> None:
    with pytest.raises(ValueError, match="no size was played"):
        curves(document([], 10, {200: "a time-out"}))


def test_another_document_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="no document of"):
        curves({"sizes": [{"nodes": 1}]})


def test_a_drawing_names_every_figure(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    draw(document([TEN, FIFTY], 10, {}), tmp_path / "growth.svg")
    text = "".join(ElementTree.parse(tmp_path / "growth.svg").getroot().itertext())
    assert all(title in text for _, title in PANELS)
