"""A watched file of addresses, on virtual time and a real file."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from discovery import Candidate, File
from discovery.file import MAX_FILE_BYTES, POLL
from tests.unit.discovery.helpers import announcement, run_virtual


class Reader:
    def __init__(self, path: Path) -> None:
        self.told: list[tuple[str, bool]] = []
        self.path = path
        self.source = File(path)
        self._versions = 0

    def _found(self, candidate: Candidate) -> None:
        self.told.append((candidate.addresses[0], candidate.is_gone))

    async def start(self) -> None:
        await self.source.start(announcement(), self._found)
        await asyncio.sleep(0)

    async def write(self, text: str | bytes) -> list[tuple[str, bool]]:
        """Returns what is told of that."""
        self.told.clear()
        self.path.write_bytes(text if isinstance(text, bytes) else text.encode())
        self._versions += 1
        os.utime(self.path, (self._versions, self._versions))
        await asyncio.sleep(1.5 * POLL)
        return sorted(self.told)

    @property
    def known(self) -> list[str]:
        return sorted(c.addresses[0] for c in self.source.state.candidates)


def test_a_file_is_read_and_its_changes_are_followed(tmp_path: Path) -> None:
    async def main() -> None:
        reader = Reader(tmp_path / "peers")
        await reader.start()
        assert reader.source.state.status == "failing"
        assert "No such file" in reader.source.state.reason
        told = await reader.write("10.0.0.1:5000  # the first\n\n# nothing\n[fd00::1]:5000\n")
        assert told == [("10.0.0.1:5000", False), ("[fd00::1]:5000", False)]
        assert reader.source.state.status == "working"
        told = await reader.write("10.0.0.2:5000\n10.0.0.1:5000")
        assert ("[fd00::1]:5000", True) in told
        assert ("10.0.0.2:5000", False) in told
        assert reader.known == ["10.0.0.1:5000", "10.0.0.2:5000"]
        await reader.source.close()

    run_virtual(main())


def test_a_line_that_makes_no_sense_is_named_and_the_others_are_used(tmp_path: Path) -> None:
    async def main() -> None:
        reader = Reader(tmp_path / "peers")
        await reader.start()
        await reader.write("10.0.0.1:5000\n10.0.0.2\n")
        assert reader.known == ["10.0.0.1:5000"]
        state = reader.source.state
        assert state.status == "failing"
        assert "peers:2: '10.0.0.2' has no port" in state.reason
        await reader.write("10.0.0.1:5000\n")
        assert reader.source.state.status == "working"
        await reader.source.close()

    run_virtual(main())


@pytest.mark.parametrize("content", [b"\xff\xfe", b"x" * (MAX_FILE_BYTES + 1)])
def test_the_wrong_file_fails_with_the_reason_and_what_was_known_stays(
    tmp_path: Path, content: bytes
) -> None:
    async def main() -> None:
        reader = Reader(tmp_path / "peers")
        await reader.start()
        await reader.write("10.0.0.1:5000")
        await reader.write(content)
        assert reader.source.state.status == "failing"
        assert reader.known == ["10.0.0.1:5000"]
        await reader.source.close()
        assert reader.source.state.status == "closed"

    run_virtual(main())


@pytest.mark.timeout(20)
def test_what_is_no_file_is_not_read(tmp_path: Path) -> None:
    async def main() -> None:
        os.mkfifo(tmp_path / "pipe")
        for path in (tmp_path / "pipe", tmp_path, Path("/dev/zero"), tmp_path / "a\0b"):
            reader = Reader(path)
            await reader.start()
            await asyncio.sleep(1.5 * POLL)
            assert reader.source.state.status == "failing"
            assert str(path) in reader.source.state.reason
            await reader.source.close()

    run_virtual(main())
