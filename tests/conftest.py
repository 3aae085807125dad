"""Settings for all tests, and the figures that they tell."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator

import pytest
from hypothesis import settings

# Time limits for one example measure the machine; pytest-timeout catches what hangs.
settings.register_profile("mesh", deadline=None)
settings.load_profile("mesh")

# Test workers have these; programs that a test starts in a terminal would believe them.
for _name in ("COLUMNS", "LINES"):
    os.environ.pop(_name, None)

# Without bytecode on disk each of a thousand processes would compile all packages anew: that is
# more than half of the time that it takes to start one.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

Measured = Callable[[str, float], None]


@pytest.fixture
def measured(request: pytest.FixtureRequest) -> Measured:
    """Notes a figure for the summary at the end of the run: figures are told, not judged."""

    def note(what: str, value: float) -> None:
        # A property of the test: it comes back from whatever process runs that.
        request.node.user_properties.append(("measured", f"{what} {value:.3g}"))

    return note


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """What a test logs may hold what UTF-8 cannot carry, and so not go to another process."""
    report = yield
    report.sections = [
        (name, text.encode("utf-8", "backslashreplace").decode()) for name, text in report.sections
    ]
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reports = [*terminalreporter.getreports("passed"), *terminalreporter.getreports("failed")]
    lines = [
        f"{report.nodeid.rpartition('::')[2]}: {line}"
        for report in reports
        if report.when == "call"
        for kind, line in report.user_properties
        if kind == "measured"
    ]
    if lines:
        terminalreporter.section("measured")
        for line in sorted(lines):
            terminalreporter.write_line(line)
