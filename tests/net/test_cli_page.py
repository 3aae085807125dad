"""``docs/meshctl.md``, executed: what it shows under a command is what the command prints.

Surprise: ids, ports and times differ from run to run, so all numbers and ids count as the same.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import mesh
from tests.net.inside import Inside, inside, without_multicast

__all__ = ["inside", "without_multicast"]

PAGE = (Path(__file__).parents[2] / "docs/meshctl.md").read_text(encoding="utf-8")
ENDLESS = {"watch", "sub"}
"""Their tests are elsewhere: they end with Ctrl-C only."""


def transcripts() -> list[tuple[list[str], str]]:
    """The words and the output of each command that stands alone and is shown with its output."""
    found = []
    for body in re.findall(r"^```console\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL):
        for line, output in re.findall(r"^\$ meshctl (.*)\n((?:[^$\n].*\n)*)", body, re.MULTILINE):
            words = shlex.split(line, comments=True)
            if output and words[0] not in ENDLESS:
                found.append((words, output))
    return found


def shape(text: str) -> str:
    text = re.sub(r"\b[0-9a-f]{8}\b", "ID", text)
    text = re.sub(r"127\.0\.0\.1:\d+|\d+\.\d+", "N", text)
    return "\n".join(" ".join(line.split()) for line in text.splitlines())


def test_the_commands_print_what_the_page_shows(
    inside: Inside, make_node: Callable[..., mesh.Node]
) -> None:
    node = make_node("calc", tags={"zone": "eu"})
    node.rpc("add")(lambda a, b: a + b)
    node.member("painters")(lambda message: None)
    node.subscriber("sensors.>")(lambda message: None)
    node.start()
    shown = transcripts()
    assert {words[0] for words, _ in shown} == {
        "peers", "ping", "owner", "call", "survey", "pub", "groupcast",
    }  # fmt: skip
    for words, output in shown:
        done = inside(*words)
        assert done.code == 0, done.err
        assert shape(done.out) == shape(output), words
