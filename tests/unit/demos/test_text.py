"""Text of strangers cannot reach the terminal or the file system as anything but text."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demos.chat.text import (
    MAX_NICK_CHARS,
    clean,
    clean_line,
    clean_nick,
    nick_fault,
    number_of,
    safe_file_name,
    size_text,
)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred\x07", "\\x1b[31mred\\x07"),
        ("a\x9b31mb", "a\\x9b31mb"),
        ("a\r\nb\rc\td", "a\nb\nc    d"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("\ud800", "\\ud800"),
        ("x" * 20, "x" * 9 + "…"),
        ("[bold]Grüße, 你好 👩\u200d🔧[/bold]", "[bold]Grüße, 你好 👩\u200d🔧[/bold]"),
    ],
)
def test_what_a_terminal_might_obey_is_written_out(text: str, shown: str) -> None:
    assert clean(text, 10 if len(text) == 20 else 1000) == shown


@given(st.text())
def test_clean_text_is_printable_short_and_stays_as_it_is(text: str) -> None:
    cleaned = clean(text, 100)
    assert len(cleaned) <= 100
    assert all(char.isprintable() or char in "\n\u200c\u200d" or char.isspace() for char in cleaned)
    assert not set(cleaned) & {chr(code) for code in (*range(10), *range(11, 32), 127)}
    assert clean(cleaned, 100) == cleaned
    assert "\n" not in clean_line(text)


@given(st.text())
def test_a_nick_is_short_and_without_blanks(nick: str) -> None:
    cleaned = clean_nick(nick)
    assert 0 < len(cleaned) <= MAX_NICK_CHARS
    assert not any(char.isspace() for char in cleaned)
    assert nick_fault(cleaned) is None


@pytest.mark.parametrize("nick", ["", "a b", "@ana", "#ana", "a~b", "\x1bana", "a" * 25])
def test_a_nick_that_would_confuse_is_refused(nick: str) -> None:
    assert nick_fault(nick)


def test_a_nick_has_one_colour_whatever_its_case() -> None:
    assert number_of("Ana", 12) == number_of("ana", 12)
    assert len({number_of(f"nick{n}", 12) for n in range(200)}) == 12


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("notes.txt", "notes.txt"),
        ("../../etc/passwd", "passwd"),
        ("C:\\temp\\a.txt", "a.txt"),
        ("..", "file"),
        ("", "file"),
        (".bashrc", "bashrc"),
        ("a\x00b\n.txt", "a_b_.txt"),
        ("x" * 300 + ".tar", "x" * 196 + ".tar"),
        ("a." + "y" * 300, "a." + "y" * 198),
        ("  Grüße .pdf ", "Grüße.pdf"),
    ],
)
def test_a_file_gets_a_name_that_stays_in_its_folder(name: str, safe: str) -> None:
    assert safe_file_name(name) == safe


@given(st.text())
def test_no_name_leaves_the_folder(name: str) -> None:
    safe = safe_file_name(name)
    folder = Path("/downloads")
    assert (folder / safe).parent == folder
    assert not safe.startswith(".")
    assert len(safe.encode("utf-8", "replace")) <= 200


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (5 * 1024**4, "5120.0 GiB")]
)
def test_sizes_are_told_in_a_fitting_unit(size: int, text: str) -> None:
    assert size_text(size) == text
