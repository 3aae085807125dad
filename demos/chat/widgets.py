"""The parts of the screen. They show the session's state and keep none of their own.

Text reaches the screen as ``rich.text.Text`` only, never as markup, and was cleaned when it came.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import ClassVar

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text
from textual import events
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Static, TextArea

from demos.chat import commands
from demos.chat.conversation import Conversation, Kind, Line
from demos.chat.people import Person
from demos.chat.session import Session
from demos.chat.text import MAX_TEXT_CHARS, number_of

__all__ = ["Composer", "ConversationView", "Sidebar", "StatusBar", "unread_text"]

NICK_COLOURS = (
    "#ff7a90", "#ffa86b", "#e8c547", "#a8d65c", "#5fd38d", "#4fd1c5",
    "#5ab8ff", "#8aa4ff", "#b794f6", "#e28be8", "#ff8fc7", "#c9b18a",
)  # fmt: skip
"""On a dark ground; a nick has one and the same everywhere."""

DIM = "#8a93a5"
MARKED = "bold #ffd166"
FAULT = "#ff6b6b"

NICK_CELLS = 10
NARROW_CELLS = 60
"""Below this width the time is left out, and nicks are cut sooner."""

MAX_PASTE_CHARS = 4 * MAX_TEXT_CHARS
"""A larger paste is no message, and would only have to be deleted again."""


def colour_of(nick: str) -> str:
    return NICK_COLOURS[number_of(nick.partition("~")[0], len(NICK_COLOURS))]


def unread_text(conversation: Conversation) -> str:
    """How many lines are unread; with ! when one is for this person."""
    return f"{conversation.unread}{'!' if conversation.has_mention else ''}"


class LineView(Widget):
    """One line: the time, the nick, and the text beside them."""

    DEFAULT_CSS = "LineView { height: auto; }"

    def __init__(self, session: Session, line: Line) -> None:
        super().__init__()
        self._session = session
        self._line = line
        self._shown = (line.revision, session.name_of(line))

    def update(self) -> None:
        """Show it anew if it has changed, or its writer is called otherwise."""
        shown = (self._line.revision, self._session.name_of(self._line))
        if shown != self._shown:
            self._shown = shown
            self.refresh(layout=True)

    def render(self) -> RenderableType:
        line = self._line
        is_wide = self.app.size.width >= NARROW_CELLS
        row = Table.grid(padding=(0, 1), expand=True)
        cells: list[Text] = []
        if is_wide:
            row.add_column(width=5, no_wrap=True)
            cells.append(Text(time.strftime("%H:%M", time.localtime(line.at)), DIM))
        nick_cells = NICK_CELLS if is_wide else NICK_CELLS - 4
        author = self._author()
        row.add_column(width=nick_cells if self._is_by_person else 1, no_wrap=True,
                       overflow="ellipsis", justify="right")  # fmt: skip
        row.add_column(ratio=1, overflow="fold")
        row.add_row(*cells, author, self._text())
        return row

    @property
    def _is_by_person(self) -> bool:
        return self._line.kind in (Kind.SAID, Kind.FILE)

    def _author(self) -> Text:
        if self._is_by_person:
            me = self._session.people.me
            name = self._session.people.label(me) if self._line.is_mine else self._shown[1]
            return Text(name, f"bold {colour_of(name)}")
        return Text("!", FAULT) if self._line.kind is Kind.ERROR else Text("·", DIM)

    def _text(self) -> Text:
        line = self._line
        styles = {Kind.NOTE: DIM, Kind.ERROR: FAULT, Kind.SAID: "", Kind.FILE: "#c3d9ff"}
        text = Text(line.text, styles[line.kind])
        if line.mark:
            text.append(f"  {line.mark}", DIM if line.has_arrived else FAULT)
        return text


class ConversationView(VerticalScroll, can_focus=False):
    """The lines of one conversation; stays at the end unless one has scrolled up."""

    def __init__(self, session: Session, conversation: Conversation) -> None:
        super().__init__()
        self._session = session
        self._conversation = conversation
        self._views: dict[Line, LineView] = {}

    def on_mount(self) -> None:
        self.anchor()

    def update(self) -> None:
        """Bring what is shown in line with the conversation."""
        lines = self._conversation.lines
        for gone in self._views.keys() - set(lines):
            self._views.pop(gone).remove()
        waiting: list[LineView] = []
        for line in lines:
            view = self._views.get(line)
            if view is None:
                view = self._views[line] = LineView(self._session, line)
                waiting.append(view)
                continue
            view.update()
            if waiting:
                self.mount_all(waiting, before=view)
                waiting = []
        if waiting:
            self.mount_all(waiting)


class Sidebar(Static):
    """The conversations with their unread lines, and who is in the one that is looked at."""

    class Chosen(Message):
        """A conversation, or a person to talk to, was clicked on."""

        def __init__(self, target: Conversation | Person) -> None:
            super().__init__()
            self.target = target

    def __init__(self, session: Session) -> None:
        super().__init__(id="sidebar")
        self._session = session
        self._targets: list[Conversation | Person | None] = []

    def show(self) -> None:
        """Show the state of the session."""
        session = self._session
        rows: list[tuple[Text, Conversation | Person | None]] = []
        conversations = list(session.conversations.values())
        for heading, is_room in (("ROOMS", True), ("PRIVATE", False)):
            chosen = [c for c in conversations if c.is_room is is_room]
            if chosen:
                rows.append((Text(heading, DIM), None))
                rows += [(self._conversation_row(c), c) for c in chosen]
                rows.append((Text(), None))
        current = session.current
        if current is not None and current.is_room:
            people = session.people.in_room(current.target)
            rows.append((Text(f"HERE ({len(people) + 1})", DIM), None))
            rows.append((self._person_row(session.people.me, is_me=True), None))
            rows += [(self._person_row(person), person) for person in people]
        self._targets = [target for _, target in rows]
        self.update(Text("\n").join(text for text, _ in rows))

    def _conversation_row(self, conversation: Conversation) -> Text:
        title = self._session.title(conversation)
        cells = max(8, self.size.width)
        mark = f" {unread_text(conversation)}" if conversation.unread else ""
        row = Text(title)
        row.truncate(cells - len(mark), overflow="ellipsis", pad=True)
        row.append(mark, MARKED)
        if conversation is self._session.current:
            row.stylize("bold reverse")
        elif conversation.unread:
            row.stylize("bold")
        return row

    def _person_row(self, person: Person, *, is_me: bool = False) -> Text:
        label = self._session.people.label(person)
        row = Text(label, colour_of(label))
        if is_me:
            row.append(" (you)", DIM)
        elif person.state != "alive":
            row.append(f" ({person.state})", DIM)
        row.truncate(max(8, self.size.width), overflow="ellipsis")
        return row

    def on_resize(self) -> None:
        self.show()

    def on_click(self, event: events.Click) -> None:
        offset = event.get_content_offset(self)
        if offset is None or offset.y >= len(self._targets):
            return
        target = self._targets[offset.y]
        if target is not None:
            self.post_message(self.Chosen(target))


class StatusBar(Static):
    """Where one is, who one is, and who can be met."""

    def __init__(self, session: Session) -> None:
        super().__init__(id="status")
        self._session = session

    def show(self) -> None:
        session, current = self._session, self._session.current
        left = Text(" ")
        if current is not None:
            left.append(session.title(current), "bold")
            if current.is_room:
                left.append(f" · {len(session.people.in_room(current.target)) + 1} here")
        if self.app.size.width < NARROW_CELLS:
            for other in self._unread(current):
                left.append(f" {session.title(other)} {unread_text(other)}", MARKED)
            right = Text(f"{session.people.me.nick} ")
        else:
            right = Text(f"{session.people.me.nick} · {session.reach} ")
        row = Table.grid(expand=True)
        row.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
        row.add_column(no_wrap=True, justify="right")
        row.add_row(left, right)
        self.update(row)

    def _unread(self, current: Conversation | None) -> Iterable[Conversation]:
        """Newest attention first: those that are for this person."""
        found = (c for c in self._session.conversations.values() if c.unread and c is not current)
        return sorted(found, key=lambda conversation: not conversation.has_mention)

    def on_resize(self) -> None:
        self.show()


class Composer(TextArea):
    """What is typed. Enter sends it; a paste stays here until then, all its rows."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("ctrl+c", "clear_or_quit", show=False)]

    class Submitted(Message):
        """A text is to be sent or done."""

        def __init__(self, text: str) -> None:
            super().__init__()
            self.text = text

    class Refused(Message):
        """A paste is too large."""

        def __init__(self, text: str) -> None:
            super().__init__()
            self.text = text

    def __init__(self, session: Session) -> None:
        super().__init__(
            id="composer",
            compact=True,
            highlight_cursor_line=False,
            placeholder="Say something, or /help",
        )
        self._session = session

    async def _on_key(self, event: events.Key) -> None:
        if event.key == "enter":
            text = self.text
            if text.strip():
                self.clear()
                self.post_message(self.Submitted(text))
        elif event.key in ("ctrl+j", "shift+enter", "alt+enter"):
            self.insert("\n")
        elif event.key == "tab":
            self.put(commands.complete(self._session, self.text))
        else:
            await super()._on_key(event)
            return
        event.stop()
        event.prevent_default()

    async def _on_paste(self, event: events.Paste) -> None:
        event.stop()
        event.prevent_default()
        text = event.text.replace("\r\n", "\n").replace("\r", "\n")
        if len(text) > MAX_PASTE_CHARS:
            self.post_message(
                self.Refused(f"that paste has {len(text)} characters; /send it as a file")
            )
            return
        self.insert(text)

    def put(self, text: str) -> None:
        """Replace what is there, and go to its end."""
        if text != self.text:
            self.load_text(text)
            self.move_cursor(self.document.end)

    def action_clear_or_quit(self) -> None:
        """Ctrl+C: copy what is selected; else clear the line; else leave."""
        if self.selected_text:
            self.action_copy()
        elif self.text:
            self.clear()
        else:
            self.app.exit()
