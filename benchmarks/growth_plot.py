"""Draws how a mesh grows: ``python -m benchmarks.growth_plot GROWTH.json FILE.svg``.

A panel for each figure over the number of nodes, with the value at each point.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import plot
from benchmarks.plot import load_pyplot, save, short

COLUMNS = 3
PANEL_IN = (4.2, 2.6)
COLOUR = "#2166ac"

PANELS = (
    ("all_know_s", "all know all, s"),
    ("node_mb", "memory of a node, MB PSS"),
    ("descriptors", "descriptors of a node"),
    ("threads", "threads of a node"),
    ("idle_percent", "an idle node, % of a core"),
    ("subscribe_ms", "one subscription, until all know, ms"),
    ("publish_ms", "one publish, until all have it, ms"),
    ("join_ms", "one join, until all know all, ms"),
    ("join_cpu_ms", "one join, CPU of all nodes, ms"),
)
"""Field and title."""


@dataclass(frozen=True, slots=True)
class Curve:
    """One figure over the number of nodes."""

    title: str
    nodes: tuple[int, ...]
    values: tuple[float, ...]


def curves(document: Mapping[str, Any]) -> list[Curve]:
    """What there is to draw in a document of ``benchmarks.growth``, by size.

    Raises ValueError for what is no such document, or an empty one.
    """
    try:
        sizes = sorted(document["sizes"], key=lambda size: int(size["nodes"]))
        nodes = tuple(size["nodes"] for size in sizes)
        found = [
            Curve(title, nodes, tuple(size[field] for size in sizes)) for field, title in PANELS
        ]
    except (KeyError, TypeError) as error:
        raise ValueError(f"no document of 'python -m benchmarks.growth': {error!r}") from error
    if not nodes:
        raise ValueError("there are no figures to draw: no size was played to its end")
    return found


def draw(document: Mapping[str, Any], path: Path) -> None:
    """Write the plot. Raises PlotUnavailable, OSError, and ValueError if there is nothing."""
    pyplot = load_pyplot()
    found = curves(document)
    rows = -(-len(found) // COLUMNS)
    width, height = PANEL_IN
    figure, axes = pyplot.subplots(
        rows, COLUMNS, figsize=(width * COLUMNS, height * rows), layout="constrained"
    )
    for curve, axis in zip(found, axes.flat, strict=False):
        axis.plot(curve.nodes, curve.values, marker="o", color=COLOUR)
        for place in zip(curve.nodes, curve.values, strict=True):
            axis.annotate(
                short(place[1]), place, (0, 6), textcoords="offset points", ha="center", fontsize=8
            )
        axis.set_title(curve.title, fontsize=9, loc="left")
        axis.set_xlim(0, max(curve.nodes) * 1.1)
        axis.set_ylim(0, max(curve.values) * 1.25 or 1.0)
        axis.set_xlabel("nodes", fontsize=8)
        axis.set_xticks(curve.nodes)
        axis.tick_params(labelsize=8)
        for side in ("top", "right"):
            axis.spines[side].set_visible(False)
    machine = document["machine"]
    figure.supxlabel(
        f"{machine['date']}, {machine['cpus']} x {machine['processor']}, Python "
        f"{machine['python']}; {document['per_process']} nodes in each process",
        fontsize=8,
    )
    save(figure, path)


if __name__ == "__main__":
    sys.exit(
        plot.main("benchmarks.growth_plot", __doc__, "what '--json' of the growth wrote", draw)
    )
