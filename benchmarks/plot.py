"""Draws what a run measured: ``python -m benchmarks.plot RESULTS.json FILE.svg``.

A panel for each workload and metric, a bar for each contestant: its median, with a line from the
least to the most of its rounds and, as text, the value and its ratio to the baseline. The data come
from the JSON document alone, so a run can be drawn later and elsewhere. Needs matplotlib.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from benchmarks.workloads import BASELINE

__all__ = ["Bar", "Panel", "PlotUnavailable", "draw", "load_pyplot", "main", "panels", "short"]

COLUMNS = 2
PANEL_WIDTH_IN = 6.0
BAR_HEIGHT_IN = 0.28
PANEL_MARGIN_IN = 0.9
"""Inches of a panel besides its bars: title, axis and air."""

ROOM_FOR_TEXT = 1.45
"""Length of an axis, in its longest bar: behind that the value stands."""

OURS = "mesh"
COLOURS = {"ours": "#2166ac", "baseline": "#777777", "others": "#d6a14f"}
VOID = "#cc3333"


class PlotUnavailable(Exception):
    """matplotlib is not installed."""


@dataclass(frozen=True, slots=True)
class Bar:
    """One contestant at one metric. ``note`` says what a reader must know of it."""

    label: str
    median: float
    least: float
    most: float
    ratio: float | None
    note: str = ""

    @property
    def kind(self) -> Literal["ours", "baseline", "others"]:
        """Whose it is, which its colour tells."""
        if self.label == BASELINE:
            return "baseline"
        return "ours" if self.label.partition("-")[0] == OURS else "others"

    @property
    def text(self) -> str:
        """What stands beside it."""
        parts = [short(self.median)]
        if self.ratio is not None and self.label != BASELINE:
            parts.append(f"{self.ratio:.2f} x {BASELINE}")
        if self.note:
            parts.append(self.note)
        return ", ".join(parts)


@dataclass(frozen=True, slots=True)
class Panel:
    """One metric of one workload."""

    workload: str
    metric: str
    unit: str
    better: str
    bars: tuple[Bar, ...]

    @property
    def title(self) -> str:
        return f"{self.workload}: {self.metric}, {self.unit} ({self.better} is better)"


def panels(document: Mapping[str, Any]) -> list[Panel]:
    """What there is to draw in a document of ``benchmarks.report``; who gave no value is left out.

    Raises ValueError for what is no such document.
    """
    try:
        bars: dict[tuple[str, str, str, str], list[Bar]] = {}
        for result in document["results"]:
            if result["values"]:
                key = (result["workload"], result["metric"], result["unit"], result["better"])
                bars.setdefault(key, []).append(bar(result))
    except (KeyError, TypeError) as error:
        raise ValueError(f"no JSON document of 'python -m benchmarks --json': {error!r}") from error
    return [Panel(*key, tuple(found)) for key, found in bars.items()]


def bar(result: Mapping[str, Any]) -> Bar:
    values = result["values"]
    lost = result["expected"] - result["delivered"]
    note = "" if result["exact"] else f"lost {lost / max(1, result['expected']):.1%}"
    return Bar(result["system"], result["median"], min(values), max(values), result["ratio"], note)


def short(value: float) -> str:
    """Three digits that count: 1.06 M, 228 k, 6.9, 0.14."""
    for size, letter in ((1e6, " M"), (1e3, " k")):
        if abs(value) >= size:
            return rounded(value / size) + letter
    return rounded(value)


def rounded(value: float) -> str:
    digits = 2 - math.floor(math.log10(abs(value))) if value else 0
    return f"{value:.{min(3, max(0, digits))}f}"


def caption(document: Mapping[str, Any]) -> str:
    """Where, when and how it was measured."""
    machine = document["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    return (
        f"{machine['date']}, {machine['cpus']} x {machine['processor']}, Python "
        f"{machine['python']}\n{versions}\nmedians of {document['rounds']} rounds of "
        f"{document['seconds']:g} s; lines from the least to the most"
    )


def load_pyplot() -> Any:
    """matplotlib, set up to write files that do not change by themselves.

    Raises PlotUnavailable.
    """
    try:
        import matplotlib as mpl
    except ImportError as error:
        text = "plots need matplotlib: pip install matplotlib, or the extra 'bench'"
        raise PlotUnavailable(text) from error
    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "benchmarks"
    mpl.rcParams["svg.fonttype"] = (
        "none"  # text stays text: it can be searched, and files are small
    )
    from matplotlib import pyplot

    return pyplot


def draw(document: Mapping[str, Any], path: Path) -> None:
    """Write the plot. Raises PlotUnavailable, OSError, and ValueError if there is nothing."""
    pyplot = load_pyplot()
    found = panels(document)
    if not found:
        raise ValueError("there are no figures to draw: nothing was played to its end")
    rows = [found[i : i + COLUMNS] for i in range(0, len(found), COLUMNS)]
    heights = [
        PANEL_MARGIN_IN + BAR_HEIGHT_IN * max(len(panel.bars) for panel in row) for row in rows
    ]
    figure, axes = pyplot.subplots(
        len(rows),
        COLUMNS,
        figsize=(PANEL_WIDTH_IN * COLUMNS, sum(heights) + PANEL_MARGIN_IN),
        gridspec_kw={"height_ratios": heights},
        squeeze=False,
        layout="constrained",
    )
    for row, line in zip(rows, axes, strict=True):
        places = max(len(panel.bars) for panel in row)
        for panel, axis in zip(row, line, strict=False):
            draw_panel(panel, axis)
            axis.set_ylim(places - 0.5, -0.5)  # a bar is as thick in the one as in the other
        for axis in line[len(row) :]:
            axis.set_visible(False)
    figure.supxlabel(caption(document), fontsize=8)
    save(figure, path)


def draw_panel(panel: Panel, axis: Any) -> None:
    bars: Sequence[Bar] = panel.bars
    places = range(len(bars))
    longest = max(bar.most for bar in bars) or 1.0
    axis.barh(
        places,
        [bar.median for bar in bars],
        color=[VOID if bar.note else COLOURS[bar.kind] for bar in bars],
        xerr=[
            [bar.median - bar.least for bar in bars],
            [bar.most - bar.median for bar in bars],
        ],
        error_kw={"elinewidth": 1.2, "capsize": 2.5},
    )
    for place, bar in zip(places, bars, strict=True):
        axis.text(bar.most + longest * 0.02, place, bar.text, va="center", fontsize=8)
    axis.set_yticks(places, [bar.label for bar in bars], fontsize=8)
    axis.set_xlim(0, longest * ROOM_FOR_TEXT)
    axis.xaxis.set_major_formatter(lambda value, _: short(value) if value >= 1e3 else f"{value:g}")
    axis.tick_params(axis="x", labelsize=8)
    axis.set_title(panel.title, fontsize=9, loc="left")
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)


def save(figure: Any, path: Path) -> None:
    """As SVG, the same bytes for the same figures."""
    figure.savefig(path, format="svg", metadata={"Date": None})


def main(
    module: str = "benchmarks.plot",
    description: str | None = __doc__,
    source: str = "what 'python -m benchmarks --json' printed",
    draw: Callable[[Mapping[str, Any], Path], None] = draw,
) -> int:
    """The command line of a module that draws what another wrote."""
    parser = argparse.ArgumentParser(prog=f"python -m {module}", description=description)
    parser.add_argument("results", type=Path, help=source)
    parser.add_argument("file", type=Path, help="the SVG to write")
    arguments = parser.parse_args()
    try:
        draw(json.loads(arguments.results.read_text()), arguments.file)
    except (PlotUnavailable, OSError, ValueError) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
