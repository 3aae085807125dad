"""The screen of the chat without a terminal: what keys, pastes and clicks do to what is shown."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from demos.chat.session import Session
from tests.net.processes import until_async

pytest.importorskip("textual", reason="Textual is not installed: pip install 'mesh-p2p[chat]'")

from textual import events

from demos.chat.app import ChatApp
from demos.chat.widgets import Composer, ConversationView, LineView, Sidebar

if TYPE_CHECKING:
    from textual.pilot import Pilot

WITHIN = 60.0
Scene = Callable[[Session, ChatApp, "Pilot[Any]"], Awaitable[None]]


@pytest.fixture
def play(mesh_name: str, tmp_path: Path) -> Callable[[Scene], None]:
    """Plays a scene: ana's chat, in the rooms lobby and dev, with lobby in front."""

    async def run(scene: Scene) -> None:
        session = Session("ana", downloads=tmp_path, mesh=mesh_name, discovery=("local",))
        async with session:
            lobby = await session.join("lobby")
            await session.join("dev")
            session.open(lobby)
            app = ChatApp(session)
            async with app.run_test(size=(80, 24)) as pilot:
                await scene(session, app, pilot)

    return lambda scene: asyncio.run(asyncio.wait_for(run(scene), WITHIN))


def view(app: ChatApp) -> ConversationView:
    (shown,) = [view for view in app.query(ConversationView) if view.display]
    return shown


async def until_shown(app: ChatApp, count: int) -> None:
    await until_async(lambda: len(view(app).query(LineView)) == count, what=f"{count} lines")


def test_what_is_being_typed_stays_with_its_conversation(play: Callable[[Scene], None]) -> None:
    async def scene(session: Session, app: ChatApp, pilot: Pilot[Any]) -> None:
        composer = app.query_one(Composer)
        await pilot.press("h", "i", "ctrl+n")
        await until_async(lambda: composer.text == "")
        await pilot.press("y", "o", "ctrl+p")
        await until_async(lambda: composer.text == "hi")
        await pilot.press("ctrl+j", "!", "enter")
        await until_shown(app, 1)
        assert session.current is not None
        assert session.current.lines[-1].text == "hi\n!"
        await pilot.press("ctrl+n")
        await until_async(lambda: composer.text == "yo")

    play(scene)


def test_a_paste_stays_in_the_line_and_a_huge_one_is_refused(
    play: Callable[[Scene], None],
) -> None:
    async def scene(session: Session, app: ChatApp, pilot: Pilot[Any]) -> None:
        composer = app.query_one(Composer)
        composer.post_message(events.Paste("one\r\n/quit\rthree [bold]"))
        await until_async(lambda: composer.text == "one\n/quit\nthree [bold]")
        composer.post_message(events.Paste("x" * 1_000_000))
        await until_shown(app, 1)
        assert session.current is not None
        assert "1000000 characters" in session.current.lines[-1].text
        assert composer.text == "one\n/quit\nthree [bold]"
        await pilot.press("ctrl+c")
        assert composer.text == ""

    play(scene)


def test_what_was_wrong_can_be_mended(play: Callable[[Scene], None]) -> None:
    async def scene(session: Session, app: ChatApp, pilot: Pilot[Any]) -> None:
        await pilot.press(*"/jon", "enter")
        await until_shown(app, 1)
        composer = app.query_one(Composer)
        await until_async(lambda: composer.text == "/jon")
        await pilot.press("backspace", "tab")
        assert composer.text == "/join "

    play(scene)


def test_new_lines_do_not_move_what_one_has_scrolled_to(play: Callable[[Scene], None]) -> None:
    async def scene(session: Session, app: ChatApp, pilot: Pilot[Any]) -> None:
        assert session.current is not None
        for number in range(60):
            session.say(session.current, f"{number}")
        await until_shown(app, 60)
        await until_async(lambda: view(app).scroll_y == view(app).max_scroll_y > 0)
        await pilot.press("pageup")
        await until_async(lambda: view(app).scroll_y < view(app).max_scroll_y)
        await pilot.pause()
        place = view(app).scroll_y
        session.say(session.current, "newest")
        await until_shown(app, 61)
        await pilot.pause()
        assert view(app).scroll_y == place
        await pilot.press("pagedown", "pagedown")
        await until_async(lambda: view(app).scroll_y == view(app).max_scroll_y)

    play(scene)


def test_a_click_opens_a_conversation_and_closing_it_takes_it_away(
    play: Callable[[Scene], None],
) -> None:
    async def scene(session: Session, app: ChatApp, pilot: Pilot[Any]) -> None:
        await until_async(lambda: app.query_one(Sidebar).size.height > 3)
        await pilot.click(Sidebar, offset=(2, 2))
        await until_async(lambda: session.current is session.conversations["#dev"])
        await until_async(lambda: len(app.query(ConversationView)) == 2)
        await pilot.press(*"/leave", "enter")
        await until_async(lambda: len(app.query(ConversationView)) == 1)
        assert session.current is session.conversations["#lobby"]

    play(scene)
