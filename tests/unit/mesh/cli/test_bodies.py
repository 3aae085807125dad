"""The rule for what is sent: words, files and stdin."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import click
import pytest

import mesh
from mesh.cli.bodies import MAX_BYTES, Bodies
from mesh.cli.values import split_words


@pytest.fixture
def stdin(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Sets what stdin gives."""

    def give(content: bytes) -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))

    return give


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("21.5", 21.5),
        ('{"a": [1]}', {"a": [1]}),
        ("hello", "hello"),
        ("", ""),
        ("@@home", "@home"),
        ("@@@", "@@"),
        ("a@b", "a@b"),
        ('"-"', "-"),
        ("--", "--"),
    ],
)
def test_a_word_is_json_or_text_and_two_ats_are_one(word: str, value: Any) -> None:
    assert Bodies(None).value(word) == value


@pytest.mark.parametrize(
    ("form", "content", "value"),
    [
        (None, b'{"a": 1}\n', {"a": 1}),
        (None, b"hello\n", "hello"),
        (None, b"two\nlines\r\n", "two\nlines"),
        (None, b"", ""),
        ("text", b"21.5\n", "21.5\n"),
        ("binary", b"21.5\n\xff", b"21.5\n\xff"),
    ],
)
def test_a_file_and_stdin_follow_the_same_rule(
    tmp_path: Path, stdin: Any, form: str | None, content: bytes, value: Any
) -> None:
    path = tmp_path / "body"
    path.write_bytes(content)
    assert Bodies(form).value(f"@{path}") == value
    assert Bodies(form).data(None, str(path)) == value
    for word in ("-", "@-"):
        stdin(content)
        assert Bodies(form).value(word) == value


def test_text_is_never_taken_for_json_and_words_are_never_bytes() -> None:
    assert Bodies("text").value("21.5") == "21.5"
    assert Bodies("text").value("@@x") == "@x"
    assert Bodies("binary").value("21.5") == 21.5


def test_arguments_of_a_call_may_come_from_files(tmp_path: Path, stdin: Any) -> None:
    path = tmp_path / "a.json"
    path.write_text("[1, 2]")
    stdin(b"from stdin")
    words = [f"@{path}", f"name=@{path}", "other=-", "plain=@@x"]
    assert split_words(words, Bodies(None).value) == (
        [[1, 2]],
        {"name": [1, 2], "other": "from stdin", "plain": "@x"},
    )


def test_stdin_is_read_once(stdin: Any) -> None:
    stdin(b"1")
    bodies = Bodies(None)
    assert bodies.value("-") == 1
    with pytest.raises(click.UsageError, match="once"):
        bodies.value("@-")


@pytest.mark.parametrize("form", [None, "text"])
def test_what_is_no_text_needs_binary(tmp_path: Path, form: str | None) -> None:
    path = tmp_path / "photo"
    path.write_bytes(b"\xff\xd8")
    with pytest.raises(click.UsageError, match=r"photo is no UTF-8 text; --binary"):
        Bodies(form).value(f"@{path}")


def test_what_cannot_be_read_is_wrong_usage(tmp_path: Path) -> None:
    for word in (f"@{tmp_path}/missing", f"@{tmp_path}"):
        with pytest.raises(click.UsageError, match="cannot read"):
            Bodies(None).value(word)
    with pytest.raises(click.UsageError, match="@@ stands for"):
        Bodies(None).value("@")
    with pytest.raises(click.UsageError, match="use one"):
        Bodies(None).data("1", "file")


def test_a_file_is_read_no_further_than_a_message_goes(tmp_path: Path) -> None:
    path = tmp_path / "endless"
    with path.open("wb") as file:
        file.truncate(MAX_BYTES + 1)  # sparse
    with pytest.raises(mesh.PayloadTooLarge, match="16 MiB"):
        Bodies("binary").value(f"@{path}")


def test_lines_are_values_of_their_own(tmp_path: Path, stdin: Any) -> None:
    content = b'1\n{"a": 2}\r\nhello\n\nlast'
    path = tmp_path / "lines"
    path.write_bytes(content)
    values = [1, {"a": 2}, "hello", "", "last"]
    stdin(content)
    assert list(Bodies(None).lines(None, None)) == values
    stdin(content)
    assert list(Bodies(None).lines("-", None)) == values
    assert list(Bodies(None).lines(f"@{path}", None)) == values
    assert list(Bodies(None).lines(None, str(path))) == values
    assert list(Bodies("binary").lines(None, str(path)))[:2] == [b"1", b'{"a": 2}']
    with pytest.raises(click.UsageError, match="--lines"):
        list(Bodies(None).lines("word", None))
