"""The screen of the chat, and its keys.

The session says that something is new; the screen looks at most twenty times a second and brings
its parts in line. So a room in which much is said costs what can be seen, not what is said.
"""

from __future__ import annotations

import asyncio
from typing import ClassVar

from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, Horizontal, VerticalScroll
from textual.widgets import Static

from demos.chat import commands
from demos.chat.conversation import Conversation
from demos.chat.people import Person
from demos.chat.session import Session
from demos.chat.widgets import Composer, ConversationView, Sidebar, StatusBar

__all__ = ["ChatApp"]

REDRAW_SECONDS = 0.05
HINT = " Enter send · Tab complete · ^N ^P switch · PgUp PgDn scroll · /help · ^Q quit"


class ChatApp(App[None]):
    """Shows a session that has been entered; ends with /quit, or Ctrl+Q."""

    ENABLE_COMMAND_PALETTE = False
    TITLE = "mesh chat"
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (60, "-normal"), (100, "-wide")]  # noqa: RUF012
    VERTICAL_BREAKPOINTS = [(0, "-low"), (18, "-high")]  # noqa: RUF012
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+n", "switch(1)", show=False, priority=True),
        Binding("ctrl+p", "switch(-1)", show=False, priority=True),
        Binding("pageup", "scroll(-1)", show=False, priority=True),
        Binding("pagedown", "scroll(1)", show=False, priority=True),
    ]
    CSS = """
    Screen { background: #14171f; color: #e3e6ee; }
    #status { height: 1; background: #2b3a67; color: #ffffff; }
    #body { height: 1fr; }
    #side { width: 20; height: 1fr; padding: 0 1; background: #1b202c; scrollbar-size: 0 0; }
    #views { width: 1fr; height: 1fr; }
    ConversationView { height: 1fr; padding: 0 1; align-vertical: bottom;
                       scrollbar-size-vertical: 1; scrollbar-background: #14171f;
                       scrollbar-color: #3a4356; }
    #composer { height: auto; min-height: 1; max-height: 6; padding: 0 1; border: none;
                background: #232a39; }
    #hint { height: 1; background: #1b202c; color: #8a93a5; }
    .-narrow #side { display: none; }
    .-wide #side { width: 28; }
    .-low #hint { display: none; }
    .-low #composer { max-height: 3; }
    """

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        self._views: dict[Conversation, ConversationView] = {}
        self._drafts: dict[Conversation, str] = {}
        self._shown: Conversation | None = None
        self._changed = asyncio.Event()

    def compose(self) -> ComposeResult:
        yield StatusBar(self._session)
        with Horizontal(id="body"):
            with VerticalScroll(id="side", can_focus=False):
                yield Sidebar(self._session)
            yield Container(id="views")
        yield Composer(self._session)
        yield Static(HINT, id="hint", markup=False)

    def on_mount(self) -> None:
        self._session.on_change = self._changed.set
        self._changed.set()
        self.query_one(Composer).focus()
        self.run_worker(self._redraw_on_change())

    def on_unmount(self) -> None:
        self._session.on_change = lambda: None

    # From the session to the screen.

    async def _redraw_on_change(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            self._redraw()
            await asyncio.sleep(REDRAW_SECONDS)

    def _redraw(self) -> None:
        current = self._session.current
        if current is not self._shown:
            self._show(current)
        for conversation in self._views.keys() - set(self._session.conversations.values()):
            self._views.pop(conversation).remove()
            self._drafts.pop(conversation, None)
        if current is not None:
            self._views[current].update()
        self.query_one(Sidebar).show()
        self.query_one(StatusBar).show()

    def _show(self, conversation: Conversation | None) -> None:
        """Bring another conversation to the front; what was being typed stays with its own."""
        composer = self.query_one(Composer)
        if self._shown is not None:
            self._drafts[self._shown] = composer.text
            self._views[self._shown].display = False
        self._shown = conversation
        if conversation is None:
            return
        composer.put(self._drafts.pop(conversation, ""))
        view = self._views.get(conversation)
        if view is None:
            view = self._views[conversation] = ConversationView(self._session, conversation)
            self.query_one("#views").mount(view)
        view.display = True

    # From the keys to the session.

    def on_composer_submitted(self, event: Composer.Submitted) -> None:
        self.run_worker(self._run(event.text))

    async def _run(self, text: str) -> None:
        try:
            is_done = await commands.run(self._session, text)
        except commands.Quit:
            self.exit()
            return
        composer = self.query_one(Composer)
        if not is_done and not composer.text:
            composer.put(text)  # to be mended

    def on_composer_refused(self, event: Composer.Refused) -> None:
        if self._session.current is not None:
            self._session.note(self._session.current, event.text, is_error=True)

    def on_sidebar_chosen(self, event: Sidebar.Chosen) -> None:
        if isinstance(event.target, Person):
            self.run_worker(self._run(f"/msg {self._session.people.label(event.target)}"))
        else:
            self._session.open(event.target)

    def action_switch(self, step: int) -> None:
        self._session.open_next(step)

    def action_scroll(self, step: int) -> None:
        view = self._views.get(self._shown) if self._shown is not None else None
        if view is None:
            return
        if step < 0:
            view.scroll_page_up(animate=False)
        else:
            view.scroll_page_down(animate=False)
