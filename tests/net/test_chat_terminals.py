"""Two chats in two real terminals, driven by keys and judged by their screens."""

from __future__ import annotations

import importlib.util
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.net.chat_script import Host, two_people_chat
from tests.net.terminals import TMUX, Terminal, opened

pytestmark = [
    pytest.mark.skipif(TMUX is None, reason="tmux is not installed: no real terminal to drive"),
    pytest.mark.skipif(
        importlib.util.find_spec("textual") is None,
        reason="Textual is not installed: pip install 'mesh-p2p[chat]'",
    ),
]

COLOUR = re.compile(r"\x1b\[[\d;]*[34]8;2;(?!(\d+);\1;\1m)")
"""A colour that is not a shade of grey."""


@pytest.fixture
def folder() -> Iterator[Path]:
    """For sockets and files: /tmp, because a socket's path must be short."""
    with tempfile.TemporaryDirectory(prefix="mesh-chat-") as name:
        yield Path(name)


def test_two_people_chat_in_their_terminals(folder: Path, mesh_name: str) -> None:
    host = Host(options=("--mesh", mesh_name))
    two_people_chat(host, host, folder)


def test_a_window_that_is_closed_says_goodbye_for_its_chat(folder: Path, mesh_name: str) -> None:
    arguments = ["-m", "demos.chat", "--mesh", mesh_name, "--nick"]
    plain = Terminal([*arguments, "ana"], folder, environment={"NO_COLOR": "1"})
    with opened(plain) as ana:
        with opened(Terminal([*arguments, "ben"], folder)) as ben:
            ana.shows(r"#lobby · 2 here +ana · this machine only")
            ben.shows(r"#lobby · 2 here")
            assert COLOUR.search(ben.coloured_screen)
            assert not COLOUR.search(ana.coloured_screen)
        ana.shows(r"· ben left")
        ana.terminate()
        assert ana.exit_code() == 0
