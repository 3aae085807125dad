"""What ``meshctl log-level`` makes of what a node says."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

import pytest

from mesh.cli.commands.log_level import _clock

EARLIEST, LATEST = (moment.replace(tzinfo=UTC) for moment in (datetime.min, datetime.max))


@pytest.mark.parametrize("moment", [None, "12:00", 7, EARLIEST, LATEST])
@pytest.mark.parametrize("zone", ["America/New_York", "Asia/Tokyo"])
def test_a_moment_that_no_calendar_has_is_not_shown(
    monkeypatch: pytest.MonkeyPatch, moment: Any, zone: str
) -> None:
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        shown = _clock(moment)
    finally:
        monkeypatch.undo()
        time.tzset()
    assert len(shown) in (0, len("12:00:00"))


def test_a_moment_is_shown_as_the_time_of_day() -> None:
    now = datetime.now(UTC)
    assert _clock(now) == f"{now.astimezone():%H:%M:%S}"
