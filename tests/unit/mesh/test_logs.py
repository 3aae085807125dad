"""Every line that is logged has an event with named fields, and the page lists them."""

from __future__ import annotations

import ast
import logging
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import mesh.logs
from patterns.logs import EVENTS, MORE, UNNAMED, get_logger

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs/observability.md").read_text(encoding="utf-8")
METHODS = {"debug", "info", "warning", "error", "exception", "log"}
TOOLS = {"testing", "cli"}
"""Not of a node: a simulation, and a program that uses the mesh."""


def lines() -> Iterator[tuple[str, ast.Call]]:
    """Where something is logged, through a logger or through ``Telling``."""
    for package in ("mesh", "patterns", "discovery"):
        for path in sorted((ROOT / package).rglob("*.py")):
            if TOOLS & set(path.relative_to(ROOT).parts):
                continue
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                    owner = ast.unparse(node.func.value)
                    is_told = owner.endswith("tell") and node.func.attr in ("warning", "info")
                    if is_told or (owner.endswith("logger") and node.func.attr in METHODS):
                        yield f"{path.relative_to(ROOT)}:{node.lineno}", node


def texts() -> Iterator[tuple[str, str, int]]:
    """The texts that are written where they are logged, and how many arguments follow."""
    for where, call in lines():
        assert isinstance(call.func, ast.Attribute)
        is_later = call.func.attr == "log" or ast.unparse(call.func.value).endswith("tell")
        text, *arguments = call.args[1:] if is_later else call.args
        if isinstance(text, ast.Constant):
            yield where, str(text.value), len(arguments)


def test_lines_are_found() -> None:
    assert len(list(texts())) > 60
    assert len(list(lines())) - len(list(texts())) <= 5  # "text = ...": these are in the table, too


@pytest.mark.parametrize(("where", "text", "count"), list(texts()))
def test_a_line_is_an_event_and_all_of_its_arguments_have_names(
    where: str, text: str, count: int
) -> None:
    assert text in EVENTS, f"{where}: name the event of this text in mesh.logs or patterns.logs"
    event, *names = EVENTS[text]
    assert len(names) + (not event) == count == len(re.findall(r"%(?!%)", text))


def test_each_event_is_on_the_page() -> None:
    listed = set(re.findall(r"^\| `([a-z_]+)`", PAGE.partition("## Logs")[2], flags=re.MULTILINE))
    changes = {"peer_joined", "peer_updated", "peer_suspected", "peer_recovered"}
    changes |= {"peer_unresponsive", "peer_failed", "peer_left"}
    assert listed == ({event for event, *_ in EVENTS.values()} - {""}) | changes


def test_a_record_has_the_fields(caplog: pytest.LogCaptureFixture) -> None:
    logger = get_logger("mesh.members")
    caplog.set_level(logging.INFO, "mesh")
    peer = mesh.Peer(id="1a" * 16, name="calc")
    logger.info("%s %s: %s", "PeerFailed", peer, "silent")
    logger.info("the link from %s is reset: %s" + MORE, peer, "no", 7)
    logger.info("something else %d", 3)
    logger.info("denied %d times more: other names, or to others", 4, extra={"mesh": "mine"})
    fields = [record.__dict__["mesh"] for record in caplog.records]
    title = "calc/1a1a1a1a"
    assert fields == [
        {"event": "peer_failed", "peer": title, "reason": "silent"},
        {"event": "link_reset", "peer": title, "reason": "no", "left_out": 7},
        {"event": UNNAMED},
        "mine",
    ]


def test_all_loggers_of_the_mesh_give_fields() -> None:
    for package in ("mesh", "patterns"):
        for path in (ROOT / package).rglob("*.py"):
            if not TOOLS & set(path.relative_to(ROOT).parts) and path.name != "logs.py":
                assert "\nlogger = logging.getLogger(" not in path.read_text(encoding="utf-8"), path


def test_nothing_is_said_below_a_warning_without_configuration() -> None:
    """Python's own last resort prints warnings; the mesh adds no handler and sets no level."""
    for name in ("mesh", "mesh.rpc", "mesh.link", "discovery"):
        logger = logging.getLogger(name)
        assert logger.handlers == []
        assert logger.level in (logging.NOTSET,)
        assert logger.propagate


def test_what_has_no_text_does_not_reach_who_logs() -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no text")

    logger, record = get_logger("mesh.test"), []
    handler = logging.Handler()
    handler.emit = record.append  # type: ignore[method-assign,assignment]
    logger.addHandler(handler)
    logger.propagate = False
    try:
        logger.warning("%r: %s", "calc", Mute())
    finally:
        logger.removeHandler(handler)
        logger.propagate = True
    assert record[0].mesh == {
        "event": "not_flushed",
        "node": "calc",
        "reason": "<Mute without a text>",
    }
