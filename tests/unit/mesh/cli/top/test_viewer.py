"""What keys do, and what the screen shows."""

from __future__ import annotations

import pytest

import mesh
from mesh.cli.top.keys import decode
from mesh.cli.top.nodes import Seen
from mesh.cli.top.samples import Sample
from mesh.cli.top.viewer import LOOK, MAX_FILTER, QUIT, VIEWS, Viewer
from tests.unit.mesh.cli.top.test_nodes import state

SEEN = [
    Seen(mesh.Peer(digit * 32, name), Sample(0.0, state()), Sample(2.0, state(received=number)))
    for number, (digit, name) in enumerate([("1", "calc"), ("2", "calc"), ("3", "shop")])
]


def screen(viewer: Viewer, width: int = 100, height: int | None = 20) -> list[str]:
    lines = viewer.screen(SEEN, "mesh lab", width, height)
    return ["".join(part for part, _ in line).rstrip() for line in lines]


def press(viewer: Viewer, *keys: str) -> list[str | None]:
    return [viewer.press(key) for key in keys]


@pytest.mark.parametrize(
    ("data", "keys"),
    [
        (b"q", ["q"]),
        (b"\x1b[A\x1b[B\x1bOC\x1b[D", ["up", "down", "right", "left"]),
        (b"\x1b[5~\x1b[6~", ["pgup", "pgdn"]),
        (b"\x1b", ["escape"]),
        (b"/ab\x7f\r", ["/", "a", "b", "backspace", "enter"]),
        (b"\x1b[15;2~x", ["x"]),
        (b"\x1b[", []),
        ("é".encode(), ["é"]),
        (b"\xff\x00\x01a", ["a"]),
        (b"", []),
    ],
)
def test_what_a_terminal_sends_is_keys(data: bytes, keys: list[str]) -> None:
    assert decode(data) == keys


def test_the_screen_has_the_sums_the_rows_and_the_keys_and_is_as_large_as_the_terminal() -> None:
    shown = screen(Viewer(), 100, 20)
    assert len(shown) == 20
    assert shown[0] == "mesh lab  3 nodes: 3 alive"
    assert "msg/s in" in shown[1]
    assert shown[3].startswith("  NODE           STATE")
    assert [line[2:15] for line in shown[4:7]] == [
        "calc/11111111",
        "calc/22222222",
        "shop/33333333",
    ]
    assert "sort: trouble" in shown[-1]
    assert "q quit" in shown[-1]


@pytest.mark.parametrize(("width", "height"), [(20, 5), (40, 8), (80, 24), (250, 60), (1, 1)])
@pytest.mark.parametrize("view", list(VIEWS))
@pytest.mark.parametrize("is_helping", [True, False])
def test_it_never_grows_beyond_the_terminal(
    width: int, height: int, view: str, is_helping: bool
) -> None:
    viewer = Viewer(view)
    viewer.is_helping = is_helping
    shown = screen(viewer, width, height)
    assert len(shown) == height
    assert max(map(len, shown)) <= width


def test_numbers_and_tab_change_the_view_and_ask_at_once() -> None:
    viewer = Viewer()
    screen(viewer)
    assert press(viewer, "2") == [LOOK]
    assert viewer.view == "methods"
    assert viewer.parts("1" * 32) == ("totals", "methods", "calls")
    press(viewer, "tab")
    assert viewer.view == "links"
    press(viewer, "tab", "tab")
    assert viewer.view == "nodes"


def test_enter_on_a_node_shows_its_links_and_only_it_is_asked_for_them() -> None:
    viewer = Viewer()
    screen(viewer)
    press(viewer, "down", "down")
    assert screen(viewer)[5].startswith("> calc/22222222")
    assert press(viewer, "enter") == [LOOK]
    assert (viewer.view, viewer.node) == ("links", "2" * 32)
    assert viewer.parts("2" * 32) == ("totals", "peers")
    assert viewer.parts("1" * 32) == ("totals",)
    assert "links of calc/22222222" in screen(viewer)[0]
    assert press(viewer, "enter", "escape") == [None, LOOK]
    assert viewer.view == "nodes"


def test_the_order_goes_through_the_columns_and_back() -> None:
    viewer = Viewer()
    screen(viewer)
    press(viewer, "s")
    assert viewer.sort == "node"
    press(viewer, "left", "left")
    assert viewer.sort == VIEWS["nodes"].columns[-1].key
    viewer.sort = "in"
    assert screen(viewer)[4].lstrip().startswith("shop")
    press(viewer, "r")
    assert screen(viewer)[4].lstrip().startswith("calc/1")
    press(viewer, "2")
    assert (viewer.sort, viewer.is_reversed) == ("trouble", False), "methods have no such column"


def test_a_filter_is_typed_and_other_keys_are_its_letters() -> None:
    viewer = Viewer()
    assert press(viewer, "/", "q", "p", "backspace", "backspace", *"sh") == [None] * 7
    shown = screen(viewer)
    assert shown[-1].startswith("/sh_")
    assert shown[4].strip().startswith("shop/")
    assert not any("calc" in line for line in shown)
    press(viewer, "enter")
    assert "filter: sh" in screen(viewer)[-1]
    press(viewer, "escape")
    assert viewer.words == ""
    press(viewer, "/", *("x" * 200))
    assert len(viewer.words) == MAX_FILTER
    assert any("nothing fits the filter" in line for line in screen(viewer))
    press(viewer, "escape")
    assert (viewer.words, viewer.is_typing) == ("", False)


def test_pause_and_help_and_quit() -> None:
    viewer = Viewer()
    assert press(viewer, "p") == [None]
    assert "PAUSED" in screen(viewer)[0]
    assert press(viewer, " ") == [LOOK]
    press(viewer, "?")
    assert any("pause" in line for line in screen(viewer)[3:-1])
    assert press(viewer, "x", "no such key", "q") == [None, None, QUIT]
    press(viewer, "h")
    assert press(viewer, "q") == [QUIT]


def test_the_cursor_stays_on_its_row_and_on_the_page() -> None:
    many = [Seen(mesh.Peer(f"{n:032x}", f"n{n:03}")) for n in range(100)]
    viewer = Viewer()
    viewer.screen(many, "lab", 80, 12)
    for key in ("end", "pgup", "up", "pgdn", "down", "down", "home"):
        viewer.press(key)
        lines = viewer.screen(many, "lab", 80, 12)
        assert sum(line[0][0].startswith(">") for line in lines if line) == 1, key
    assert viewer.cursor == many[0].peer.id
    assert "1-7 of 100" in "".join(part for part, _ in lines[-1])
    viewer.press("end")
    assert viewer.cursor == many[-1].peer.id


def test_without_a_terminal_all_rows_are_there_and_no_keys() -> None:
    shown = screen(Viewer(), 10_000, None)
    assert len(shown) == 7
    assert not any("quit" in line for line in shown)


def test_a_view_of_links_without_a_node_says_what_to_do() -> None:
    assert any("press Enter" in line for line in screen(Viewer("links")))
