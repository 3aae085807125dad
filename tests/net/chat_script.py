"""Two people chat, each in a terminal: what they type, and what they must see.

The script is a function of where each chat is started, so that the same one serves for one machine
and for two hosts: there a host's ``prefix`` is what starts a command on it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from tests.net.processes import until
from tests.net.terminals import SHOWN, Terminal, opened

__all__ = ["Host", "two_people_chat"]

FILE_BYTES = 48 * 1024**2 + 5
"""Large enough to see it on its way, at 50 MB/s and twenty looks a second."""

PERCENT = re.compile(r"[█░]+ \d+ %")


@dataclass(frozen=True)
class Host:
    """Where a chat is started: what stands before the command, and the options it is given."""

    prefix: Sequence[str] = ()
    options: Sequence[str] = ()


class _Stage:
    """The two terminals, and how they are opened."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        self._stack = stack
        self.folder = folder

    def open(self, nick: str, host: Host, columns: int, rows: int) -> Terminal:
        downloads = str(self.folder / f"for-{nick}")
        arguments = ["-m", "demos.chat", "--nick", nick, "--downloads", downloads, *host.options]
        return self._stack.enter_context(
            opened(Terminal(arguments, self.folder, prefix=host.prefix, columns=columns, rows=rows))
        )


def two_people_chat(ana_host: Host, ben_host: Host, folder: Path) -> None:
    """The whole script. ``folder`` takes the sockets and the files."""
    with ExitStack() as stack:
        stage = _Stage(stack, folder)
        ana = stage.open("ana", ana_host, 80, 24)
        ana.shows(r"#lobby · 1 here")
        ana.type("the first words")
        ana.shows(r"ana the first words  nobody else is here")
        ben = stage.open("ben", ben_host, 100, 30)
        they_meet(ana, ben)
        they_talk(ana, ben)
        a_paste_of_many_rows_is_one_message(ana, ben)
        they_talk_in_private(ana, ben)
        a_file_is_sent(ana, ben, folder)
        the_window_changes_its_size(ana, ben)
        they_leave(ana, ben)


def they_meet(ana: Terminal, ben: Terminal) -> None:
    """Each sees the other come, and the late one what was said before, once."""
    ana.shows(r"· ben (joined|is here)")
    ana.shows(r"#lobby · 2 here")
    ben.shows(r"#lobby · 2 here")
    screen = ben.shows(r"ana the first words")
    assert screen.count("the first words") == 1
    for terminal, other in ((ana, "ben"), (ben, "ana")):
        assert re.search(r"HERE \(2\)", terminal.screen)
        terminal.shows(rf"(?m)^ {other}\b")


def they_talk(ana: Terminal, ben: Terminal) -> None:
    ben.type("good morning [bold]ana[/bold]")
    ana.shows(r"ben good morning \[bold\]ana\[/bold\]")
    ana.type("/nonsense")
    ana.shows(r"! there is no /nonsense")
    ana.key("C-c")
    ana.hides(r"(?m)^ /nonsense")


def a_paste_of_many_rows_is_one_message(ana: Terminal, ben: Terminal) -> None:
    """Nothing is sent, and no command run, before Enter; then all of it, by one person."""
    ana.paste("row one\nrow two\n/quit\nrow four")
    ana.shows(r"row four")
    assert "row one" not in ben.screen
    ana.key("Enter")
    screen = ben.shows(r"ana row one\n.* row two\n.* /quit\n.* row four")
    assert len(re.findall(r"ana row", screen)) == 1
    ana.shows(r"Say something")


def they_talk_in_private(ana: Terminal, ben: Terminal) -> None:
    """What is not looked at is marked unread, at both kinds of conversation."""
    ben.type("/msg ana psst")
    ben.shows(r"ben psst  ✓")
    ana.shows(r"@ben +1!")
    assert "psst" not in ana.screen
    ana.key("C-n")
    screen = ana.shows(r"ben psst")
    assert not re.search(r"@ben +1!", screen)
    ben.key("C-p")
    ben.shows(r"(?m)^ #lobby · 2 here")
    ben.type("is anybody here?")
    ana.shows(r"(?m)^ #lobby +1\b")
    ana.key("C-p")
    screen = ana.shows(r"ben is anybody here\?")
    assert "psst" not in screen


def a_file_is_sent(ana: Terminal, ben: Terminal, folder: Path) -> None:
    """Progress is seen at both ends; it arrives as it was."""
    path = folder / "film.bin"
    path.write_bytes(b"frame " * (FILE_BYTES // 6))
    ana.type(f"/send ben {path}")
    seen: set[Terminal] = set()

    def is_seen_on_its_way() -> bool:
        seen.update(t for t in (ana, ben) if PERCENT.search(t.screen))
        return len(seen) == 2

    ben.key("C-n")
    until(is_seen_on_its_way, SHOWN, "progress at both ends")
    ana.shows(r"film\.bin, 48\.0 MiB: sent")
    ben.shows(r"film\.bin, 48\.0 MiB: saved as")
    kept = folder / "for-ben" / "film.bin"
    assert hashlib.sha256(kept.read_bytes()).digest() == hashlib.sha256(path.read_bytes()).digest()
    assert [found.name for found in kept.parent.iterdir()] == ["film.bin"]
    ana.key("C-p")
    ben.key("C-p")
    ana.shows(r"(?m)^ #lobby · 2 here")
    ben.shows(r"(?m)^ #lobby · 2 here")


def the_window_changes_its_size(ana: Terminal, ben: Terminal) -> None:
    """A small one shows the talk and little else, a large one all; nothing is lost on the way."""
    ana.resize(40, 15)
    ana.hides(r"ROOMS|Enter send")
    ana.shows(r"(?m)^ #lobby · 2 here +ana\s*$")
    ben.type("can you read this?")
    ana.shows(r"(?m)^ +ben can you read this\?")
    ana.resize(120, 40)
    ana.shows(r"(?m)^ ROOMS")
    ana.shows(r"Enter send")
    ana.shows(r"\d\d:\d\d +ana the first words")
    ana.type("I can")
    ben.shows(r"ana I can")


def they_leave(ana: Terminal, ben: Terminal) -> None:
    """Who goes is seen to go; the terminal is given back."""
    ben.type("/quit")
    ana.shows(r"· ben left")
    ana.shows(r"#lobby · 1 here")
    ana.shows(r"HERE \(1\)")
    assert ben.exit_code() == 0
    ana.key("C-q")
    assert ana.exit_code() == 0
