"""What is drawn of a run: whose bars, how long, and with what beside them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from benchmarks import plot
from benchmarks.plot import Bar, PlotUnavailable, draw, panels, short


def result(system: str, values: list[float], **fields: Any) -> dict[str, Any]:
    return {
        "workload": "flood",
        "metric": "rate",
        "unit": "msg/s",
        "better": "higher",
        "system": system,
        "median": sorted(values)[len(values) // 2] if values else None,
        "values": values,
        "ratio": 2.0,
        "expected": 100,
        "delivered": 100,
        "exact": True,
    } | fields


def document(*results: dict[str, Any]) -> dict[str, Any]:
    machine = {"date": "2020-01-02", "cpus": 2, "processor": "P", "python": "3.11", "versions": {}}
    return {"machine": machine, "rounds": 3, "seconds": 1.0, "results": list(results)}


def test_a_bar_has_the_median_and_the_spread_of_its_rounds() -> None:
    (panel,) = panels(document(result("mesh", [3.0, 1.0, 2.0])))
    (bar,) = panel.bars
    assert (bar.least, bar.median, bar.most) == (1.0, 2.0, 3.0)


def test_each_metric_of_each_workload_has_a_panel() -> None:
    found = panels(
        document(
            result("mesh", [1.0]),
            result("raw", [1.0]),
            result("mesh", [1.0], metric="cpu"),
            result("mesh", [1.0], workload="calls"),
        )
    )
    assert [(panel.workload, panel.metric, len(panel.bars)) for panel in found] == [
        ("flood", "rate", 2),
        ("flood", "cpu", 1),
        ("calls", "rate", 1),
    ]


def test_who_was_skipped_or_failed_has_no_bar() -> None:
    (panel,) = panels(document(result("mesh", [1.0]), result("nats", [])))
    assert [bar.label for bar in panel.bars] == ["mesh"]


def test_a_loss_is_told_beside_the_bar() -> None:
    (panel,) = panels(document(result("drops", [1.0], delivered=75, exact=False)))
    assert panel.bars[0].text.endswith("lost 25.0%")


def test_the_ratio_is_told_of_all_but_the_baseline() -> None:
    assert Bar("mesh", 1.0, 1.0, 1.0, 2.5).text == "1.00, 2.50 x raw"
    assert Bar("raw", 1.0, 1.0, 1.0, 1.0).text == "1.00"


@pytest.mark.parametrize(
    ("label", "kind"),
    [("mesh", "ours"), ("mesh-key", "ours"), ("raw", "baseline"), ("meshtastic", "others")],
)
def test_a_colour_tells_whose_bar_it_is(label: str, kind: str) -> None:
    assert Bar(label, 1.0, 1.0, 1.0, None).kind == kind


@pytest.mark.parametrize(
    ("value", "text"),
    [(1_060_133, "1.06 M"), (228_345, "228 k"), (6.94, "6.94"), (0.14, "0.140"), (0, "0")],
)
def test_a_figure_has_three_digits(value: float, text: str) -> None:
    assert short(value) == text


@pytest.mark.parametrize("wrong", [{}, {"results": [{}]}, {"results": None}])
def test_another_document_is_a_value_error(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="benchmarks --json"):
        panels(wrong)


def test_without_matplotlib_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(PlotUnavailable, match="pip install matplotlib"):
        plot.load_pyplot()


def test_the_same_figures_give_the_same_svg(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    figures = document(result("mesh", [3.0, 1.0, 2.0]), result("raw", [1.0]))
    files = [tmp_path / "one.svg", tmp_path / "other.svg"]
    for file in files:
        draw(figures, file)
    assert files[0].read_bytes() == files[1].read_bytes()
    text = "".join(ElementTree.parse(files[0]).getroot().itertext())
    assert "flood: rate, msg/s (higher is better)" in text
    assert "2.00 x raw" in text
