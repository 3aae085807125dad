"""The chat without its screen: real nodes on loopback, and what each person sees of the others."""

from __future__ import annotations

import asyncio
import dataclasses
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import mesh
from demos.chat import commands
from demos.chat.conversation import Kind, Line
from demos.chat.room import HISTORY_LINES
from demos.chat.session import ChatError
from tests.net.chats import Chat, private, runs, texts, until_in_room
from tests.net.processes import ROOT, until_async


@runs
async def test_what_is_said_in_a_room_is_heard_there_and_nowhere_else(chat: Chat) -> None:
    async with chat("ana") as ana, chat("ben") as ben, chat("eva") as eva:
        lobby = await ana.join("lobby")
        await ben.join("Lobby")
        await eva.join("dev")
        await until_in_room(ana, "ben")
        await until_in_room(ben, "ana")
        await until_in_room(ana, "eva", room="dev")
        line = ana.say(lobby, "\x1b[2Jhello\nthere")
        assert line.mark == ""
        await until_async(lambda: texts(ben.current) == ["\\x1b[2Jhello\nthere"])
        assert ben.current is not None
        assert ben.name_of(ben.current.lines[-1]) == "ana"
        ben.say(ben.current, "fine")
        await until_async(lambda: texts(lobby)[-1] == "fine")
        assert texts(eva.current) == []
        assert ana.people.rooms() == {"lobby": 1, "dev": 1}


@runs
async def test_who_joins_and_leaves_is_told(chat: Chat) -> None:
    async with chat("ana") as ana:
        lobby = await ana.join("lobby")
        ana._rooms["lobby"]._since -= 10  # one who comes now was not here before
        async with chat("ben") as ben:
            room = await ben.join("lobby")
            await ben.join("dev")
            await until_async(lambda: "ben joined" in texts(lobby, Kind.NOTE))
            await until_async(lambda: "ana is here" in texts(room, Kind.NOTE))
            ben.close(room)
            await until_async(lambda: "ben left" in texts(lobby, Kind.NOTE))
            assert ana.people.rooms() == {"dev": 1}
            await ben.join("lobby")
            await until_async(lambda: texts(lobby, Kind.NOTE)[-1] == "ben joined")
        await until_async(lambda: texts(lobby, Kind.NOTE)[-1] == "ben left")
        assert list(ana.people) == []


@runs
async def test_a_late_joiner_gets_the_newest_lines_once_and_in_order(chat: Chat) -> None:
    async with chat("ana") as ana, chat("ben") as ben:
        lobby = await ana.join("lobby")
        await ben.join("lobby")
        await until_in_room(ana, "ben")
        await until_in_room(ben, "ana")
        for number in range(HISTORY_LINES + 20):
            ana.say(lobby, f"{number}")
        await until_async(lambda: len(texts(ben.current)) == HISTORY_LINES + 20)
        async with chat("eva") as eva:
            room = await eva.join("lobby")
            await until_async(lambda: len(texts(room)) >= HISTORY_LINES)
            await until_in_room(ana, "eva")
            ana.say(lobby, "last")
            await until_async(lambda: texts(room)[-1] == "last")
            wanted = [f"{number}" for number in range(20, HISTORY_LINES + 20)]
            assert texts(room) == [*wanted, "last"]
            assert {eva.name_of(line) for line in room.lines if line.kind is Kind.SAID} == {"ana"}
            assert room.unread == 0


@runs
async def test_history_outlives_who_said_it(chat: Chat) -> None:
    async with chat("ben") as ben:
        await ben.join("lobby")
        async with chat("ana") as ana:
            lobby = await ana.join("lobby")
            await until_in_room(ana, "ben")
            ana.say(lobby, "remember me")
            await until_async(lambda: texts(ben.current) == ["remember me"])
        async with chat("eva") as eva:
            room = await eva.join("lobby")
            await until_async(lambda: texts(room) == ["remember me"])
            assert eva.name_of(next(x for x in room.lines if x.kind is Kind.SAID)) == "ana"


@runs
async def test_one_who_has_just_come_is_not_believed_to_know_all(chat: Chat) -> None:
    """Eva meets ben, who knows nothing yet and says so, and asks ana when she comes."""
    async with chat("ben") as ben, chat("eva") as eva, chat("ana") as ana:
        await ben.join("lobby")
        room = await eva.join("lobby")
        await until_in_room(eva, "ben")
        line = ana.say(await ana.join("lobby"), "old news")
        await until_async(lambda: texts(room) == ["old news"])
        assert line.author == ana.node.id


@runs
async def test_a_private_message_reaches_one_person_and_says_so(chat: Chat) -> None:
    async with chat("ana") as ana, chat("ben") as ben, chat("eva") as eva:
        for session in (ana, ben, eva):
            await session.join("lobby")
        await until_in_room(ana, "ben", "eva")
        assert await commands.run(ana, "/msg ben psst\nsecret")
        line = private(ana, ben).lines[-1]
        await until_async(lambda: line.mark == "✓")
        conversation = private(ben, ana)
        assert texts(conversation) == ["psst\nsecret"]
        assert (conversation.unread, conversation.has_mention) == (1, True)
        assert len(eva.conversations) == 1
        ben.open(conversation)
        assert conversation.unread == 0
        assert await commands.run(ben, "I know")
        await until_async(lambda: texts(private(ana, ben))[-1] == "I know")
        await ana.join("dev")
        assert list(ana.conversations) == ["#lobby", "#dev", f"@{ben.node.id}"]


@runs
async def test_a_private_message_to_one_who_is_gone_is_not_delivered(chat: Chat) -> None:
    async with chat("ana") as ana:
        await ana.join("lobby")
        async with chat("ben") as ben:
            await until_async(lambda: list(ana.people))
            await commands.run(ana, "/msg ben hello")
            conversation = private(ana, ben)
            await until_async(lambda: conversation.lines[-1].mark == "✓")
        await until_async(lambda: "ben left" in texts(conversation, Kind.NOTE))
        assert not await commands.run(ana, "are you there?")
        assert conversation.lines[-1].text == "ben is gone"
        assert not await commands.run(ana, "/msg ben hello")
        assert "nobody here is called ben" in conversation.lines[-1].text


@runs
async def test_what_is_not_looked_at_is_unread_and_a_mention_is_marked(chat: Chat) -> None:
    async with chat("ana") as ana, chat("ben") as ben:
        lobby = await ana.join("lobby")
        dev = await ana.join("dev")
        theirs = await ben.join("lobby")
        await until_in_room(ben, "ana")
        await until_in_room(ana, "ben")
        ben.say(theirs, "banana")
        await until_async(lambda: lobby.unread == 1)
        assert not lobby.has_mention
        ben.say(theirs, "@Ana: look")
        await until_async(lambda: lobby.unread == 2)
        assert lobby.has_mention
        assert ana.current is dev
        ana.open_next()
        assert (ana.current, lobby.unread) == (lobby, 0)
        ana.open_next(-1)
        assert ana.current is dev


@runs
async def test_what_was_lost_on_the_way_is_asked_for(chat: Chat) -> None:
    async with chat("ana") as ana, chat("ben") as ben:
        lobby = await ana.join("lobby")
        asked: list[object] = []
        answer = ben.history
        ben.history = lambda name, limit: asked.append(name) or answer(name, limit)  # type: ignore
        theirs = await ben.join("lobby")
        await ana.join("dev")
        await until_in_room(ana, "ben")
        await until_async(lambda: asked)
        (peer,) = [peer for peer in ana.node.peers() if peer.id == ben.node.id]
        for number, event in enumerate(
            [mesh.Gap(peer, missed=1), mesh.PeerFailed(dataclasses.replace(peer, state="failed"))],
            1,
        ):
            theirs.add(
                Line(Kind.SAID, f"lost {number}", 10 + number, 0.0, ben.node.id, "ben", number)
            )
            if isinstance(event, mesh.Gap):
                ana._on_gap(event)
            else:
                ana._update(event.peer, event)
                assert "ben is gone" in texts(lobby, Kind.NOTE)[-1]
                ana._update(peer)
            await until_async(lambda: texts(lobby)[-1:] == [f"lost {number}"])  # noqa: B023
            assert lobby.unread == number


@runs
async def test_a_stranger_who_is_no_chat_can_do_nothing(chat: Chat, make_async: Any) -> None:
    async with chat("ben") as ben, make_async("calc") as calc:
        lobby = await ben.join("lobby")
        await calc.wait_for("chat")
        service = calc.service("chat", peer=ben.node.id)
        line = {"n": 1, "order": 1, "at": 0.0, "text": "hi"}
        assert await service.tell(line) == "only people can talk here"
        assert await service.offer("0" * 32, "a", 1) == "only people can send files"
        calc.broadcast("room-lobby", {"text": "\x1b[2J"})
        calc.broadcast("room-lobby", line)
        await until_async(lambda: texts(lobby) == ["hi"])
        assert list(ben.people) == []


@runs
async def test_a_history_that_is_none_does_no_harm(chat: Chat, make_async: Any) -> None:
    mallory = make_async("chat", tags={"nick": "mal\x1blory"})
    good = {"n": 1, "order": 2**60, "at": 0.0, "text": "\x07hi", "author": "a" * 32, "nick": "x y"}
    answers = iter(["nonsense", {"lines": [7, {}, good | {"n": -1}, good], "is_settled": True}])
    asked = asyncio.Queue[str]()

    def history(room: str, limit: int) -> Any:
        asked.put_nowait(room)
        return next(answers)

    mallory.rpc(history)
    async with mallory, chat("ana") as ana:
        lobby = await ana.join("lobby")
        async with mallory.join("room-lobby"):
            await until_in_room(ana, "mal\\x1blory")
            assert await asked.get() == "lobby"
            assert await ana._rooms["lobby"].fetch(mallory.id) is True
        (line,) = [line for line in lobby.lines if line.kind is Kind.SAID]
        assert (line.text, line.nick) == ("\\x07hi", "x_y")
        assert line.order < 2**53


@runs
async def test_commands_answer_and_say_what_is_wrong(chat: Chat, tmp_path: Path) -> None:
    async with chat("ana") as ana, chat("ben") as ben:
        await ana.join("lobby")
        await ben.join("dev")
        await until_in_room(ana, "ben", room="dev")
        assert ana.current is not None
        for typed, answer in (
            ("/who", "Who is here:\nana: you\nben: #dev"),
            ("/rooms", "Rooms, and how many are there:\n#dev: 1\n#lobby: 1, with you"),
        ):
            assert await commands.run(ana, typed)
            assert ana.current.lines[-1].text == answer
        for typed, fault in (
            ("/nonsense", "there is no /nonsense"),
            ("/", "there is no /"),
            ("/join", "usage: /join ROOM"),
            ("/join a b", "a room's name is"),
            ("/leave", "this is the last one"),
            ("/leave dev", "you are not in #dev"),
            ("/msg", "usage: /msg"),
            ("/msg carl hi", "nobody here is called carl"),
            ("/send ben", "usage: /send NICK PATH"),
            ("/send ben ~nobody-at-all/x", "there is no file"),
            (f"/send ben '{tmp_path}'", "is no plain file"),
            ("/cancel", "no file is on its way"),
            ("x" * 8001, "8001 characters"),
            ("  ", "nothing to say"),
        ):
            assert not await commands.run(ana, typed)
            line = ana.current.lines[-1]
            assert line.kind is Kind.ERROR
            assert fault in line.text
        assert await commands.run(ana, "//slash")
        assert ana.current.lines[-1].text == "/slash"
        assert await commands.run(ana, "/help")
        assert all(f"/{name}" in ana.current.lines[-1].text for name in commands.COMMANDS)
        with pytest.raises(commands.Quit):
            await commands.run(ana, "/quit")


@runs
async def test_names_and_commands_are_completed(chat: Chat) -> None:
    async with chat("ana") as ana, chat("ben") as ben, chat("Bettina"):
        await ana.join("lobby")
        await ben.join("develop")
        await until_async(lambda: len(list(ana.people)) == 2)
        await until_in_room(ana, "ben", room="develop")
        for typed, completed in (
            ("/jo", "/join "),
            ("/join de", "/join develop "),
            ("/msg b", "/msg be"),
            ("/msg bet", "/msg Bettina "),
            ("bet", "Bettina: "),
            ("hello bet", "hello Bettina "),
            ("hello ", "hello "),
            ("/send ben ./b", "/send ben ./b"),
            ("xyz", "xyz"),
        ):
            assert commands.complete(ana, typed) == completed


def test_a_nick_that_cannot_be_is_refused_at_once(chat: Chat) -> None:
    with pytest.raises(ChatError, match="blanks"):
        chat("a b")


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (["--nick", "a b"], "the nick 'a b' cannot be used"),
        (["--mesh", "a b"], "bad mesh name"),
        (["--nick", "ana", "--seed", "nonsense"], "seed"),
        (["--key", "a", "--key-file", "b"], "give --key or --key-file"),
        (["--key-file", "/nowhere/at-all"], "cannot read the key file"),
        (["--port", "99999"], "is no port"),
        (["--nonsense"], "No such option"),
        (["--nick", "ana", "--mesh", "nobodys"], "needs a terminal"),
    ],
)
def test_wrong_usage_is_told_in_one_line(
    capsys: pytest.CaptureFixture[str], arguments: list[str], fault: str
) -> None:
    pytest.importorskip("textual", reason="the chat's command line needs its screen")
    from demos.chat.__main__ import main

    assert main(arguments) == 2
    told = capsys.readouterr().err
    assert fault in told
    assert told.count("\n") == 1


@pytest.mark.parametrize("page", ["README.md", "docs/chat.md"])
def test_the_shown_command_lines_are_understood(page: str) -> None:
    from demos.chat.__main__ import chat as command

    text = (ROOT / page).read_text(encoding="utf-8")
    lines = re.findall(r"^python -m demos\.chat .*$", text, flags=re.MULTILINE)
    assert len(lines) == 2
    for line in lines:
        arguments = shlex.split(line, comments=True)[3:]
        assert command.make_context("chat", arguments).params["nick"] == "ana"


def test_the_page_lists_the_commands_that_there_are() -> None:
    page = (ROOT / "docs/chat.md").read_text(encoding="utf-8")
    table = page.partition("| command |")[2].partition("\n\n")[0]
    shown = re.findall(r"`(/[^`]+)`", "\n".join(row.split("|")[1] for row in table.split("\n")[2:]))
    assert sorted(shown) == sorted(command.usage for command in commands.COMMANDS.values())


def test_without_textual_one_line_says_what_to_install() -> None:
    program = (
        "import sys, importlib.util as u; find = u.find_spec; "
        "u.find_spec = lambda name, *a: None if name == 'textual' else find(name, *a); "
        "from demos.chat.__main__ import main; code = main(['--nick', 'ana']); "
        "assert 'textual' not in sys.modules; sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr == "chat: the chat needs Textual: pip install 'mesh-p2p[chat]'\n"
