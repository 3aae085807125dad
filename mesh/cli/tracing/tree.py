"""Spans of several nodes as trees, on one scale of time. Pure.

Each node writes down times by its own clock. Between two nodes these may differ, so what is said of
causes goes before what is said of times: nothing begins before what it follows from, and a call is
served within the time that it took its caller. A span that does not fit is moved: a served call to
the middle of its call (Cristian 1989: its way there and back took as long as each other), a message
to the moment at which it was sent. Everything else of the same node moves along. What was moved is
marked: of its start no more is known than that.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from patterns.traces import CLIENT, SERVER

__all__ = ["Placed", "forest", "walk"]


@dataclass
class Placed:
    """A span in its tree; ``span`` is as its node told it, with ``node``, who that was."""

    span: dict[str, Any]
    children: list[Placed] = field(default_factory=list)
    start: float = 0.0
    """Seconds since 1970 by the clock of the first span."""
    is_moved: bool = False

    @property
    def seconds(self) -> float:
        return float(self.span.get("seconds") or 0.0)

    @property
    def end(self) -> float:
        return self.start + self.seconds

    @property
    def node(self) -> str:
        return str(self.span["node"])


def forest(spans: Iterable[dict[str, Any]]) -> list[Placed]:
    """The trees of one trace, the earliest first: more than one if a parent was not kept."""
    placed = {span["span"]: Placed(span, start=float(span["start"])) for span in spans}
    roots: list[Placed] = []
    for one in placed.values():
        parent = placed.get(one.span.get("parent") or "")
        (roots if parent is None else parent.children).append(one)
    reached = {one.span["span"] for _, one in walk(roots)}
    for id, one in placed.items():
        if id not in reached:  # it is above itself, which no honest node says
            placed[one.span["parent"]].children.remove(one)
            roots.append(one)
            reached |= {below.span["span"] for _, below in walk([one])}
    shifts: dict[str, float] = {}
    roots.sort(key=lambda one: one.start)
    for root in roots:
        _place(root, shifts)
    return sorted(roots, key=lambda one: one.start)


def _place(root: Placed, shifts: dict[str, float]) -> None:
    """Give the spans of a tree their times. Not recursive: a trace may be deep."""
    shifts.setdefault(root.node, 0.0)
    root.start += shifts[root.node]
    waiting = [root]
    while waiting:
        parent = waiting.pop()
        for child in parent.children:
            _fit(child, parent, shifts)
            waiting.append(child)
        parent.children.sort(key=lambda one: one.start)


def _fit(child: Placed, parent: Placed, shifts: dict[str, float]) -> None:
    told = child.start
    shift = shifts.get(child.node, 0.0)
    start = told + shift
    is_within = (child.span["kind"], parent.span["kind"]) == (SERVER, CLIENT)
    is_early = start < parent.start
    is_late = is_within and start + child.seconds > parent.end and child.seconds <= parent.seconds
    if child.node != parent.node and (is_early or is_late):
        slack = max(0.0, parent.seconds - child.seconds) if is_within else 0.0
        start = parent.start + slack / 2
        shifts[child.node] = start - told
    child.start = start
    child.is_moved = start != told


def walk(trees: Iterable[Placed]) -> Iterator[tuple[int, Placed]]:
    """(depth, span), each after its parent."""
    waiting = [(0, one) for one in reversed(list(trees))]
    while waiting:
        depth, one = waiting.pop()
        yield depth, one
        waiting += [(depth + 1, child) for child in reversed(one.children)]
