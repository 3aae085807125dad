"""``docs/queues.md``, executed: each program prints what its transcript shows, each limit holds.

The first two are processes of a mesh of their own; the others run in this one, on virtual time.
"""

from __future__ import annotations

import logging
import re
import runpy
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.test_docs import UNITS, resolve
from tests.test_readme import Tour, Transcript, is_service, programs, transcripts

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs/queues.md").read_text(encoding="utf-8")
PROGRAMS = programs(PAGE)
IN_PROCESSES = ("mailer.py", "shop.py")


@pytest.fixture
def tour(tmp_path: Path) -> Iterator[Tour]:
    tour = Tour(tmp_path, PAGE)
    yield tour
    tour.close()


def test_the_first_program_prints_what_the_page_shows(tour: Tour) -> None:
    shown = [transcript for transcript in transcripts(PAGE) if transcript.file in IN_PROCESSES]
    for transcript in shown:
        begin = tour.serve if is_service(PROGRAMS[transcript.file]) else tour.run
        begin(transcript)
    tour.finish()


@pytest.mark.parametrize(
    "transcript",
    [transcript for transcript in transcripts(PAGE) if transcript.file not in IN_PROCESSES],
    ids=lambda transcript: transcript.file,
)
def test_a_program_prints_what_the_page_shows(
    transcript: Transcript,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / transcript.file
    path.write_text(PROGRAMS[transcript.file], encoding="utf-8")
    logging.disable(logging.WARNING)  # what handlers raise is on the page as what becomes of it
    try:
        runpy.run_path(str(path), run_name="__main__")
    finally:
        logging.disable(logging.NOTSET)
    assert capsys.readouterr().out == transcript.output


def test_each_program_has_a_transcript() -> None:
    assert set(PROGRAMS) == {transcript.file for transcript in transcripts(PAGE)}
    assert set(IN_PROCESSES) < set(PROGRAMS)


LIMITS = re.findall(r"^\| [^|]+ \| `([\w.]+\.[A-Z_]+)` \| ([^|]+) \|", PAGE, flags=re.MULTILINE)


@pytest.mark.parametrize(("name", "stated"), LIMITS)
def test_a_limit_has_the_stated_value(name: str, stated: str) -> None:
    number, _, unit = stated.strip().partition(" ")
    assert resolve(name) == pytest.approx(float(number) * UNITS[unit])
