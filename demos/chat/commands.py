"""What a line that is typed does: ``/join dev``, ``/msg ben hello``, or simply said.

``run`` never raises for what a person typed: the answer, or what is wrong, is a line in the
conversation that is looked at. A text that begins with a slash is written with two.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from demos.chat.conversation import Conversation
from demos.chat.people import UnknownPerson
from demos.chat.session import ChatError, Session
from demos.chat.text import clean_line

__all__ = ["COMMANDS", "Quit", "complete", "run"]


class Quit(Exception):
    """Raised by /quit."""


@dataclass(frozen=True, slots=True)
class Command:
    usage: str
    help: str
    run: Callable[[Session, str], Awaitable[None]]


async def run(session: Session, text: str) -> bool:
    """Do what a typed text says; whether it came to something. Raises Quit."""
    try:
        if text.startswith("/") and not text.startswith("//"):
            await _run_command(session, text)
        else:
            session.say(_current(session), text[1:] if text.startswith("//") else text)
    except (ChatError, UnknownPerson) as error:
        _answer(session, str(error), is_error=True)
        return False
    return True


async def _run_command(session: Session, text: str) -> None:
    name, *rest = text[1:].split(maxsplit=1)[:2] or [""]
    command = COMMANDS.get(name.lower())
    if command is None:
        raise ChatError(f"there is no /{clean_line(name, 40)}; /help lists what there is, "
                        "and // begins a text with a slash")  # fmt: skip
    await command.run(session, rest[0].rstrip() if rest else "")


def complete(session: Session, text: str) -> str:
    """``text`` with its last word completed as far as one thing is meant; else as it was."""
    head, blank, word = text.rpartition(" ")
    if not blank and text.startswith("/"):
        choices = [f"/{name}" for name in COMMANDS]
    elif head == "/join":
        choices = sorted(session.people.rooms())
    elif head.startswith(("/send ", "/leave", "/rooms")):
        return text
    else:
        choices = [session.people.label(person) for person in session.people]
    found = [choice for choice in choices if choice.casefold().startswith(word.casefold())]
    if not word or not found:
        return text
    common = found[0]
    while not all(choice.casefold().startswith(common.casefold()) for choice in found):
        common = common[:-1]
    is_start = not blank and not text.startswith("/")
    ending = (": " if is_start else " ") if len(found) == 1 else ""
    return f"{head}{blank}{common}{ending}"


def _answer(session: Session, text: str, *, is_error: bool = False) -> None:
    session.note(_current(session), text, is_error=is_error)


def _current(session: Session) -> Conversation:
    if session.current is None:
        raise ChatError("there is no conversation yet")
    return session.current


def _two(arguments: str, usage: str) -> tuple[str, str]:
    first, *rest = arguments.split(maxsplit=1) or [""]
    if not rest:
        raise ChatError(f"usage: {usage}")
    return first, rest[0]


async def _join(session: Session, arguments: str) -> None:
    if not arguments:
        raise ChatError("usage: /join ROOM")
    await session.join(arguments)


async def _leave(session: Session, arguments: str) -> None:
    conversation = _current(session)
    if arguments:
        key = f"#{arguments.removeprefix('#').lower()}"
        if key not in session.conversations:
            raise ChatError(f"you are not in {clean_line(key, 40)}")
        conversation = session.conversations[key]
    session.close(conversation)


async def _rooms(session: Session, arguments: str) -> None:
    counts = session.people.rooms()
    mine = {c.target for c in session.conversations.values() if c.is_room}
    rows = [
        f"#{room}: {counts.get(room, 0) + (room in mine)}{', with you' if room in mine else ''}"
        for room in sorted(counts.keys() | mine)
    ]
    _answer(session, "\n".join(["Rooms, and how many are there:", *rows]))


async def _who(session: Session, arguments: str) -> None:
    people = session.people
    rows = [f"{people.label(people.me)}: you"]
    for person in people:
        rooms = " ".join(f"#{room}" for room in sorted(person.rooms)) or "in no room"
        state = "" if person.state == "alive" else f", {person.state}"
        rows.append(f"{people.label(person)}: {rooms}{state}")
    _answer(session, "\n".join(["Who is here:", *rows]))


async def _msg(session: Session, arguments: str) -> None:
    name, *rest = arguments.split(maxsplit=1) or [""]
    if not name:
        raise ChatError(f"usage: {COMMANDS['msg'].usage}")
    conversation = session.open_private(session.people.resolve(name))
    if rest:
        session.say(conversation, rest[0])


async def _send(session: Session, arguments: str) -> None:
    name, path = _two(arguments, COMMANDS["send"].usage)
    person = session.people.resolve(name)
    transfer = session.send_file(person, _path(path))
    session.open(session.conversations[f"@{transfer.person}"])


def _path(text: str) -> Path:
    """A path as people type it: with ~, and perhaps in quotes."""
    if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
        text = text[1:-1]
    try:
        return Path(text).expanduser()
    except RuntimeError:  # a ~user that there is not
        return Path(text)


async def _cancel(session: Session, arguments: str) -> None:
    conversation = _current(session)
    running = session.files.running
    if not conversation.is_room:
        running = [transfer for transfer in running if transfer.person == conversation.target]
    if not running:
        raise ChatError("no file is on its way here")
    for transfer in running:
        session.files.cancel(transfer)


async def _help(session: Session, arguments: str) -> None:
    rows = [f"{command.usage:17} {command.help}" for command in COMMANDS.values()]
    _answer(session, "\n".join([*rows, *(f"{keys:17} {what}" for keys, what in KEYS)]))


async def _quit(session: Session, arguments: str) -> None:
    raise Quit


KEYS = (
    ("Enter, Ctrl+J", "send; a new row"),
    ("Tab", "complete a name or a command"),
    ("Ctrl+N, Ctrl+P", "next conversation; previous"),
    ("PgUp, PgDn", "scroll"),
    ("Ctrl+C, Ctrl+Q", "clear the line; leave the chat"),
)

COMMANDS: dict[str, Command] = {
    "join": Command("/join ROOM", "enter a room, or go back to it", _join),
    "leave": Command("/leave [ROOM]", "leave it, or close what is private", _leave),
    "rooms": Command("/rooms", "which rooms there are", _rooms),
    "who": Command("/who", "who is here, and where", _who),
    "msg": Command("/msg NICK [TEXT]", "talk to one person", _msg),
    "send": Command("/send NICK PATH", "send a file to one person", _send),
    "cancel": Command("/cancel", "stop files on their way", _cancel),
    "help": Command("/help", "this", _help),
    "quit": Command("/quit", "leave the chat", _quit),
}
