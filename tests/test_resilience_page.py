"""``docs/resilience.md``, executed: each program prints what its transcript shows.

The programs run in this process, one after the other; the libraries that they show are in the
extra ``test``, and a program whose library is not there is skipped by name. Those on a simulated
mesh take no time; the others are in a mesh of their own.
"""

from __future__ import annotations

import importlib.util
import logging
import re
import runpy
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

import mesh
from mesh.registrations import RPC_CONCURRENCY
from patterns.rpc.retries import PER_SECOND, SHARE
from tests.test_readme import Transcript, programs, transcripts

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs/resilience.md").read_text(encoding="utf-8")
PROGRAMS = programs(PAGE)
LIBRARIES = ("aiolimiter", "purgatory", "stamina")


def used(program: str) -> list[str]:
    return [name for name in LIBRARIES if re.search(rf"^(import|from) {name}\b", program, re.M)]


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("MESH_NAME", f"resilience-{uuid.uuid4().hex[:16]}")
    for name in ("MESH_KEY", "MESH_IDENTITY", "MESH_SEEDS", "MESH_HOST"):
        monkeypatch.delenv(name, raising=False)
    # What handlers raise is on the page as what callers get.
    logging.disable(logging.ERROR)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("transcript", transcripts(PAGE), ids=lambda transcript: transcript.file)
def test_a_program_prints_what_the_page_shows(
    transcript: Transcript, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    program = PROGRAMS[transcript.file]
    for name in used(program):
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"{name} is not installed: pip install -e '.[test]' brings it")
    path = tmp_path / transcript.file
    path.write_text(program, encoding="utf-8")
    runpy.run_path(str(path), run_name="__main__")
    assert capsys.readouterr().out == transcript.output


def test_each_program_has_a_transcript_and_each_library_a_program() -> None:
    assert set(PROGRAMS) == {transcript.file for transcript in transcripts(PAGE)}
    assert {name for program in PROGRAMS.values() for name in used(program)} == set(LIBRARIES)


def test_the_libraries_are_in_the_extra_for_tests_and_the_mesh_needs_none() -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    needed, _, extras = project.partition("[project.optional-dependencies]")
    assert all(f'"{name}>=' in extras for name in LIBRARIES)
    assert not any(name in needed for name in LIBRARIES)


def test_the_page_names_the_errors_and_the_figures_of_the_mesh() -> None:
    table = PAGE.partition("| error | says something about the service |")[2].partition("\n\n")[0]
    names = set(re.findall(r"`([A-Z]\w+)`", table)) - {"CancelledError", "KeyError"}
    assert names
    assert all(issubclass(getattr(mesh, name), mesh.MeshError) for name in names)
    assert f"a budget of {SHARE:.0%}".replace("%", " %") in PAGE
    assert f"and {PER_SECOND:g}/s" in PAGE
    assert f"the method's {RPC_CONCURRENCY} slots" in PAGE


def test_the_pages_it_links_to_are_there() -> None:
    links = re.findall(r"\]\((\w+\.md)\)", PAGE)
    assert links
    assert [link for link in links if not (ROOT / "docs" / link).exists()] == []
