"""What is shown, in which order and of whom, and what a key changes of that. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from mesh.cli.text import bytes_of, count_of
from mesh.cli.top import details, nodes
from mesh.cli.top.nodes import Seen
from mesh.cli.top.table import (
    BAD,
    DIM,
    FINE,
    HEAD,
    TROUBLE,
    WARN,
    Column,
    Line,
    Row,
    chosen,
    count,
    lines,
    ordered,
    rate,
    seconds,
)

__all__ = ["QUIT", "VIEWS", "View", "Viewer"]

QUIT = "quit"
LOOK = "look"
"""What a key can ask of the program: to end, and to ask the nodes now."""

MAX_FILTER = 80
"""Characters; a line of a terminal."""


@dataclass(frozen=True, slots=True)
class View:
    """``parts`` are asked of each node; ``own_parts`` of the one that is looked into."""

    title: str
    columns: Sequence[Column]
    parts: tuple[str, ...]
    own_parts: tuple[str, ...] = ()


VIEWS = {
    "nodes": View("nodes", nodes.COLUMNS, nodes.PARTS),
    "methods": View("methods", details.METHOD_COLUMNS, ("totals", "methods", "calls")),
    "links": View("links", details.LINK_COLUMNS, ("totals",), ("totals", "peers")),
    "listening": View("listening", details.LISTENING_COLUMNS,
                      ("totals", "subscriptions", "groups")),
}  # fmt: skip

HELP = (
    ("1 2 3 4, Tab", "nodes, methods, links of a node, what is listened to"),
    ("Up Down PgUp PgDn", "move; Enter on a node shows its links, Escape goes back"),
    ("Left Right, or s S", "sort by another column; r the other way round; t trouble first"),
    ("/", "filter: words that must be there, !word that must not; Escape ends it"),
    ("p, Space", "pause"),
    ("a", "observers, the failed and the left, too"),
    ("q", "quit"),
    ("", ""),
    ("! and *", "needs a look: lost or silent; has errors, waits, drains, is denied"),
    ("SERVED CALLS IN OUT", "per second: calls served and made, messages received and sent"),
    ("P50 P99", "of handlers, without the wait in line; up to 41 % too high, never too low"),
    ("RUN", "calls that run, +those in line; FLIGHT: calls made that have no answer yet"),
    ("WAITS", "messages not sent, not acknowledged, or not yet handled"),
    ("MISSED", "messages that did not reach it; DROPPED: that it gave up; +new ones"),
    ("-", "not known: no answer, not allowed, just started, or an older version"),
)


class Viewer:
    """The state of the screen."""

    def __init__(
        self, view: str = "nodes", *, sort: str = TROUBLE, words: str = "", show_all: bool = False
    ) -> None:
        self.view = view
        self.sort = sort
        self.is_reversed = False
        self.words = words
        self.show_all = show_all
        self.is_paused = False
        self.is_helping = False
        self.is_typing = False
        self.cursor: str | None = None
        """The key of the row that is pointed at."""
        self.node: str | None = None
        """The id of the node whose links are shown."""
        self._shown: list[Row] = []
        self._page = 10
        self._keys = self._bindings()

    # What to ask, and what comes of it.

    def parts(self, id: str) -> tuple[str, ...]:
        """What this view needs of a node, and no more."""
        view = VIEWS[self.view]
        return view.own_parts if view.own_parts and id == self.node else view.parts

    def rows(self, seen: Sequence[Seen]) -> list[Row]:
        """What is shown of these nodes."""
        columns = VIEWS[self.view].columns
        return ordered(
            chosen(self._all_rows(seen), columns, self.words),
            self.sort,
            is_reversed=self.is_reversed,
        )

    def _all_rows(self, seen: Sequence[Seen]) -> list[Row]:
        if self.view == "methods":
            return details.method_rows(seen, show_all=self.show_all)
        if self.view == "listening":
            return details.listening_rows(seen)
        if self.view == "links":
            return details.link_rows(self._looked_into(seen))
        return [nodes.node_row(one) for one in seen]

    def _looked_into(self, seen: Sequence[Seen]) -> Seen | None:
        for one in seen:
            if one.peer.id == self.node:
                return one
        return None

    # Keys.

    def press(self, key: str) -> str | None:
        """Returns ``QUIT`` or ``LOOK`` if something is to be done."""
        if self.is_typing:
            self._type(key)
            return None
        if self.is_helping:
            self.is_helping = False
            return QUIT if key == "q" else None
        action = self._keys.get(key)
        return action() if action is not None else None

    def _bindings(self) -> dict[str, Callable[[], str | None]]:
        views = list(VIEWS)
        keys: dict[str, Callable[[], str | None]] = {
            "q": lambda: QUIT,
            "?": lambda: self._set("is_helping", True),
            "h": lambda: self._set("is_helping", True),
            "/": lambda: self._set("is_typing", True),
            "p": self._pause,
            " ": self._pause,
            "a": self._show_all,
            "r": lambda: self._set("is_reversed", not self.is_reversed),
            "t": lambda: self._sort(TROUBLE),
            "tab": lambda: self._go(views[(views.index(self.view) + 1) % len(views)]),
            "enter": self._enter,
            "escape": self._back,
        }
        for key, by in (("right", 1), ("s", 1), ("left", -1), ("S", -1)):
            keys[key] = lambda by=by: self._sort_next(by)  # type: ignore[misc]
        for key, to in (("up", -1), ("down", 1), ("k", -1), ("j", 1)):
            keys[key] = lambda to=to: self._move(to)  # type: ignore[misc]
        for number, view in enumerate(views, 1):
            keys[str(number)] = lambda view=view: self._go(view)  # type: ignore[misc]
        keys["pgup"] = lambda: self._move(-self._page)
        keys["pgdn"] = lambda: self._move(self._page)
        keys["home"] = lambda: self._move(-len(self._shown))
        keys["end"] = lambda: self._move(len(self._shown))
        return keys

    def _set(self, name: str, value: bool) -> None:
        setattr(self, name, value)

    def _type(self, key: str) -> None:
        if key in ("enter", "escape"):
            self.is_typing = False
            if key == "escape":
                self.words = ""
        elif key == "backspace":
            self.words = self.words[:-1]
        elif len(key) == 1 and len(self.words) < MAX_FILTER:
            self.words += key

    def _show_all(self) -> str:
        self.show_all = not self.show_all
        return LOOK

    def _pause(self) -> str | None:
        self.is_paused = not self.is_paused
        return None if self.is_paused else LOOK

    def _sort(self, by: str) -> None:
        self.sort, self.is_reversed = by, False

    def _sort_next(self, by: int) -> None:
        keys = [TROUBLE, *(column.key for column in VIEWS[self.view].columns)]
        at = keys.index(self.sort) if self.sort in keys else 0
        self._sort(keys[(at + by) % len(keys)])

    def _go(self, view: str) -> str:
        if view == "links" and self.node is None:
            self.node = self._pointed_at()
        if self.sort not in [column.key for column in VIEWS[view].columns]:
            self._sort(TROUBLE)
        self.view, self.cursor = view, None
        return LOOK

    def _enter(self) -> str | None:
        if self.view == "links" or (id := self._pointed_at()) is None:
            return None
        self.node, self.words = id, ""
        return self._go("links")

    def _back(self) -> str | None:
        if self.words:
            self.words = ""
            return None
        return None if self.view == "nodes" else self._go("nodes")

    def _pointed_at(self) -> str | None:
        """The id of the node that the row under the cursor, or the first one, is of."""
        pointed = [row for row in self._shown if row.key == self.cursor] or self._shown[:1]
        id = pointed[0].values.get("id") if pointed else None
        return id if isinstance(id, str) else None

    def _move(self, by: int) -> None:
        keys = [row.key for row in self._shown]
        if keys:
            at = keys.index(self.cursor) if self.cursor in keys else -1 if by > 0 else 0
            self.cursor = keys[min(max(at + by, 0), len(keys) - 1)]

    # The screen.

    def screen(
        self, seen: Sequence[Seen], title: str, width: int, height: int | None
    ) -> list[Line]:
        """All its lines; without ``height`` as many as there are, and no word of keys."""
        rows = self._shown = self.rows(seen)
        above = [*self._heading(seen, title)]
        below = [] if height is None else [self._footer(rows)]
        if self.is_helping and height is not None:
            body = [[(f"  {key:<22}", HEAD), (text, FINE)] for key, text in HELP]
            body += [[] for _ in range(height - len(above) - len(body) - len(below))]
            return _cut([*above, *body][: height - 1] + below, width)
        if height is not None:
            self._page = max(1, height - len(above) - len(below) - 1)
            rows = self._visible(rows)
            below = [self._footer(rows)]
        columns = VIEWS[self.view].columns
        body = lines(columns, rows, width, sorted_by=self.sort, cursor=self.cursor)
        if not rows:
            body.append([(f"  {self._nothing(seen)}", DIM)])
        if height is not None:
            body += [[] for _ in range(height - len(above) - len(body) - len(below))]
        return _cut([*above, *body, *below][:height], width)

    def _visible(self, rows: list[Row]) -> list[Row]:
        """A page of them, with the cursor on it."""
        at = next((i for i, row in enumerate(rows) if row.key == self.cursor), 0)
        first = min(max(0, at - self._page + 1), max(0, len(rows) - self._page))
        return rows[first : first + self._page]

    def _nothing(self, seen: Sequence[Seen]) -> str:
        if self.words:
            return f"nothing fits the filter {self.words!r}"
        if self.view == "links":
            one = self._looked_into(seen)
            if one is None:
                return "of which node? Choose one among the nodes (1) and press Enter"
            return f"{one.trouble or 'no links'}: {one.peer}"
        return "nothing yet"

    def _heading(self, seen: Sequence[Seen], title: str) -> list[Line]:
        sums = nodes.sums(seen)
        known = sorted(sums["states"].items(), key=lambda one: (-_style_of(one[0]), one[0]))
        states = [(f"{number} {word}", _style_of(word)) for word, number in known]
        head: Line = [(title, HEAD), (f"  {count_of(sums['nodes'], 'node')}: ", FINE)]
        for number, (text, style) in enumerate(states):
            head += [(", " if number else "", FINE), (text, style)]
        one = self._looked_into(seen) if self.view == "links" else None
        if one is not None:
            head.append((f"  links of {one.peer}", HEAD))
        if self.is_paused:
            head.append(("  PAUSED", WARN))
        numbers: Line = []
        for name, text in (
            ("served", f"{rate(sums['served'])} calls/s"),
            ("errors", f"{rate(sums['errors'])} err/s"),
            ("p50", f"p50 {seconds(sums['p50'])}"),
            ("p99", f"p99 {seconds(sums['p99'])}"),
            ("in", f"{rate(sums['in'])} msg/s in"),
            ("out", f"{rate(sums['out'])} out"),
            ("backlog", f"{count(sums['backlog'])} wait"),
        ):
            style = BAD if name == "errors" and sums["errors"] else FINE
            numbers += [("  " if numbers else "", FINE), (text, style)]
        if sums["backlog_bytes"]:
            numbers.append((f" ({bytes_of(sums['backlog_bytes'])})", FINE))
        return [head, numbers, []]

    def _footer(self, visible: Sequence[Row]) -> Line:
        if self.is_typing:
            return [
                ("/", HEAD),
                (f"{self.words}_", FINE),
                ("   Enter keeps it, Escape ends it", DIM),
            ]
        line: Line = []
        for number, (name, view) in enumerate(VIEWS.items(), 1):
            line.append((f"{number} {view.title}  ", HEAD if name == self.view else DIM))
        if visible and len(visible) < len(self._shown):
            first = self._shown.index(visible[0])
            line.append((f" {first + 1}-{first + len(visible)} of {len(self._shown)} ", WARN))
        way = " reversed" if self.is_reversed else ""
        line.append((f" sort: {self.sort}{way}", FINE))
        if self.words:
            line.append((f"  filter: {self.words}", WARN))
        line.append(("   / filter  p pause  ? help  q quit", DIM))
        return line


def _style_of(state: str) -> int:
    if state in ("alive", "left", "asked"):
        return FINE
    return WARN if state in ("denied", "too old") else BAD


def _cut(screen: list[Line], width: int) -> list[Line]:
    """No line is longer than the terminal: it would be folded, and push others away."""
    result = []
    for line in screen:
        left, cut = width, []
        for text, style in line:
            cut.append((text[:left], style))
            left -= len(text[:left])
        result.append(cut)
    return result


def documents(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Rows for programs."""
    return [dict(row.values) for row in rows]
