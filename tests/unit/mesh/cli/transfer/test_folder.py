"""The folder of received files: what is there already cannot be made to be anything else."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mesh.cli.transfer.folder import BusyError, Folder


def test_what_somebody_took_away_while_it_came_is_not_another_ones_file(tmp_path: Path) -> None:
    folder = Folder(tmp_path, is_overwriting=False)
    with folder.part("a") as first:
        first.write(b"whole")
        (tmp_path / ".a.part").unlink()
        with folder.part("a") as second:
            second.write(b"ha")
            with pytest.raises(FileNotFoundError, match="was removed"):
                folder.keep(first, "a")
            assert folder.keep(second, "a") == "a"
    assert (tmp_path / "a").read_bytes() == b"ha"


def test_a_file_with_another_name_and_a_pipe_are_not_written_to(tmp_path: Path) -> None:
    folder = Folder(tmp_path, is_overwriting=False)
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    os.link(victim, tmp_path / ".a.part")
    os.mkfifo(tmp_path / ".b.part")
    for name in ("a", "b"):
        with pytest.raises(FileExistsError, match="no such file"), folder.part(name):
            pass
    assert victim.read_bytes() == b"precious"


def test_an_empty_part_is_not_kept_and_one_with_something_is(tmp_path: Path) -> None:
    folder = Folder(tmp_path, is_overwriting=False)
    with folder.part("a"):
        pass
    assert list(tmp_path.iterdir()) == []
    with folder.part("a") as file:
        file.write(b"some")
        with pytest.raises(BusyError), folder.part("a"):
            pass
    assert [path.name for path in tmp_path.iterdir()] == [".a.part"]
