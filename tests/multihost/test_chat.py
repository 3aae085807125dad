"""Two people chat between two hosts: with a key, found by multicast, in real terminals."""

from __future__ import annotations

import importlib.util
import tempfile
from pathlib import Path

import pytest

from tests.multihost.lab import Lab
from tests.net.chat_script import Host, two_people_chat
from tests.net.terminals import TMUX

pytestmark = [
    pytest.mark.skipif(TMUX is None, reason="tmux is not installed: no real terminal to drive"),
    pytest.mark.skipif(
        importlib.util.find_spec("textual") is None,
        reason="Textual is not installed: pip install 'mesh-p2p[chat]'",
    ),
]


def test_two_people_chat_between_two_hosts(lab: Lab) -> None:
    options = ("--key", "some words")
    hosts = [Host(prefix=lab.host(name).command, options=options) for name in ("left", "right")]
    with tempfile.TemporaryDirectory(prefix="mesh-chat-") as folder:
        two_people_chat(*hosts, Path(folder))
