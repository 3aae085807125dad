"""Log lines that others cause are few, and those left out are counted."""

from __future__ import annotations

import logging

import pytest

from mesh.engine.telling import BURST, MAX_KINDS, Telling, shown

logger = logging.getLogger("test.telling")


class Clock:
    def __init__(self) -> None:
        self.at = 0.0

    def now(self) -> float:
        return self.at


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def telling(clock: Clock, caplog: pytest.LogCaptureFixture) -> Telling:
    caplog.set_level(logging.INFO)
    return Telling(clock.now)


def test_a_flood_of_one_kind_is_a_burst_and_then_one_a_second(
    telling: Telling, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(1000):
        telling.warning(logger, "the link from %s is reset", number)
    assert len(caplog.messages) == BURST
    clock.at = 2.0
    for number in range(1000):
        telling.warning(logger, "the link from %s is reset", number)
    assert caplog.messages[BURST:] == [
        "the link from 0 is reset (980 more of these were left out)",
        "the link from 1 is reset",
    ]


def test_another_kind_is_told(telling: Telling, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(1000):
        telling.warning(logger, "one")
    telling.info(logger, "two %s", 2)
    assert caplog.messages[-1] == "two 2"
    assert caplog.records[-1].levelno == logging.INFO
    assert caplog.records[-1].funcName == "test_another_kind_is_told"


def test_what_nobody_listens_to_is_not_counted_as_said(
    telling: Telling, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    for _ in range(1000):
        telling.info(logger, "quiet")
    caplog.set_level(logging.INFO)
    telling.info(logger, "quiet")
    assert caplog.messages == ["quiet"]


def test_the_kinds_that_are_remembered_are_bounded(telling: Telling) -> None:
    for number in range(3 * MAX_KINDS):
        telling.info(logger, f"kind {number}")
    assert len(telling._kinds) == MAX_KINDS


def test_a_text_of_a_peer_is_one_line_and_short() -> None:
    assert shown("closed") == "closed"
    assert "\n" not in shown("bye\n2024-01-01 WARNING all is lost")
    assert "\x1b" not in shown("\x1b[2J\x9b")
    assert len(shown("x" * 100_000)) == 255
