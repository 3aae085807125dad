"""Files from one chat to another: whole, with progress, in bounds, and leaving nothing behind."""

from __future__ import annotations

import hashlib
import os
import uuid
from pathlib import Path

import pytest

from demos.chat import commands, files
from demos.chat.conversation import Kind
from demos.chat.files import State, Transfer
from demos.chat.session import Session
from tests.net.chats import Chat, private, runs
from tests.net.processes import until_async


def write(path: Path, size: int) -> Path:
    path.write_bytes(os.urandom(size))
    return path


async def send(ana: Session, ben: Session, path: Path) -> tuple[Transfer, list[int]]:
    """Send a file and wait until it ends; what the receiver had of it on the way."""
    await until_async(lambda: ana.people.find(ben.node.id))
    seen: list[int] = []
    tell = ben.on_change

    def note() -> None:
        seen.extend(transfer.done_bytes for transfer in ben.files.running)
        tell()

    ben.on_change = note
    person = ana.people.find(ben.node.id)
    assert person is not None
    transfer = ana.send_file(person, path)
    await until_async(lambda: transfer.state is not State.RUNNING)
    return transfer, seen


@runs
async def test_a_file_arrives_whole_with_progress_and_overwrites_nothing(
    chat: Chat, tmp_path: Path
) -> None:
    downloads = tmp_path / "downloads"
    path = write(tmp_path / "photo.jpg", 5 * files.CHUNK_BYTES + 7)
    async with chat("ana") as ana, chat("ben", downloads=downloads) as ben:
        for _ in range(2):
            transfer, seen = await send(ana, ben, path)
            assert (transfer.state, transfer.reason) == (State.DONE, "")
            assert seen == sorted(seen)
            assert len(set(seen)) >= 5
        names = ["photo (2).jpg", "photo.jpg"]
        assert sorted(kept.name for kept in downloads.iterdir()) == names
        digest = hashlib.sha256(path.read_bytes()).digest()
        for name in names:
            assert hashlib.sha256((downloads / name).read_bytes()).digest() == digest
        assert "saved as" in private(ben, ana).lines[-1].text
        assert private(ben, ana).unread == 2
        empty, _ = await send(ana, ben, write(tmp_path / "empty", 0))
        assert empty.state is State.DONE
        assert (downloads / "empty").read_bytes() == b""


@runs
async def test_a_file_that_is_too_large_is_refused_before_it_is_sent(
    chat: Chat, tmp_path: Path
) -> None:
    async with chat("ana") as ana, chat("ben", max_file_bytes=1024) as ben:
        transfer, _ = await send(ana, ben, write(tmp_path / "big", 1025))
        assert (transfer.state, transfer.done_bytes) == (State.FAILED, 0)
        assert transfer.reason == "it is larger than 1.0 KiB"
        assert "failed" in private(ana, ben).lines[-1].text
        assert ben.conversations.keys() <= {f"@{ana.node.id}"}


@runs
@pytest.mark.parametrize("by_sender", [True, False])
async def test_a_file_can_be_cancelled_at_either_end_and_leaves_nothing(
    chat: Chat, tmp_path: Path, by_sender: bool
) -> None:
    downloads = tmp_path / "downloads"
    path = write(tmp_path / "film", 100 * files.CHUNK_BYTES)
    async with chat("ana") as ana, chat("ben", downloads=downloads) as ben:
        await until_async(lambda: list(ana.people))
        (person,) = ana.people
        transfer = ana.send_file(person, path)
        await until_async(lambda: transfer.done_bytes > 0)
        here = ana if by_sender else ben
        here.open(private(here, ben if by_sender else ana))
        assert await commands.run(here, "/cancel")
        await until_async(lambda: not ana.files.running and not ben.files.running)
        assert list(downloads.iterdir()) == []
        ends = {"cancelled, by you", "cancelled, by the sender", "failed, it was ended there"}
        for session, other in ((ana, ben), (ben, ana)):
            said = private(session, other).lines[-1].text
            assert said.partition(": ")[2] in ends, said


@runs
async def test_a_sender_that_goes_leaves_no_unfinished_file(chat: Chat, tmp_path: Path) -> None:
    downloads = tmp_path / "downloads"
    path = write(tmp_path / "film", 200 * files.CHUNK_BYTES)
    async with chat("ben", downloads=downloads) as ben:
        async with chat("ana") as ana:
            await until_async(lambda: list(ana.people))
            (person,) = ana.people
            transfer = ana.send_file(person, path)
            await until_async(lambda: ben.files.running and transfer.done_bytes)
            conversation = private(ben, ana)
        await until_async(lambda: not ben.files.running)
        assert list(downloads.iterdir()) == []
        (line,) = [line for line in conversation.lines if line.kind is Kind.FILE]
        assert line.text.endswith("failed, ana left")


@runs
async def test_a_sender_that_falls_silent_is_given_up(
    chat: Chat, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "IDLE_SECONDS", 0.05)
    downloads = tmp_path / "downloads"
    async with chat("ana") as ana, chat("ben", downloads=downloads) as ben:
        await until_async(lambda: list(ana.people))
        service = ana.node.service("chat", peer=ben.node.id)
        assert await service.offer(uuid.uuid4().hex, "x", 3) is None
        await until_async(lambda: not ben.files.running)
        assert "nothing came for" in private(ben, ana).lines[-1].text
        assert list(downloads.iterdir()) == []


@runs
async def test_a_sender_that_breaks_the_rules_is_refused(chat: Chat, tmp_path: Path) -> None:
    downloads = tmp_path / "downloads"
    id, digest = uuid.uuid4().hex, hashlib.sha256(b"abc").digest()
    async with chat("ana") as ana, chat("ben", downloads=downloads) as ben:
        await until_async(lambda: list(ana.people))
        service = ana.node.service("chat", peer=ben.node.id)
        for offer in ((7, "a", 1), (id, b"a", 1), (id, "a", -1), (id, "a", True), ("../x", "a", 1)):
            assert "no " in await service.offer(*offer)
        assert await service.chunk(id, 0, b"a") == "it was ended there"
        for piece, why in (
            ((0, "text"), "out of turn"),
            ((1, b"a"), "out of turn"),
            ((0, b"abcd"), "more came"),
        ):
            assert await service.offer(id, "../../x.txt", 3) is None
            assert why in await service.chunk(id, *piece)
        assert await service.offer(id, "../../x.txt", 3) is None
        assert await service.offer(id, "x", 3) == "it is on its way already"
        assert await service.chunk(id, 0, b"ab") is None
        assert await service.finish(id, digest) == "not all of it came"
        assert await service.offer(id, "../../x.txt", 3) is None
        assert await service.chunk(id, 0, b"abd") is None
        assert await service.finish(id, digest) == "it arrived damaged"
        assert list(downloads.iterdir()) == []
        for number in range(files.MAX_RUNNING):
            assert await service.offer(f"{number:032x}", "x", 3) is None
        assert "already" in await service.offer(id, "x", 3)
        assert await service.tell({"n": 1}) == "its numbers are none"
        assert await service.history("nowhere", 10) == {"lines": [], "is_settled": False}
    assert list(downloads.iterdir()) == []
