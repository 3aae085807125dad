"""What is sent: values from the command line, from files and from stdin. One rule for all.

==============  =====================================================================
word            value
==============  =====================================================================
``-``           what stdin gives until its end; once in a command
``@PATH``       what the file holds; ``@-`` is stdin again
``@@...``       the word without its first ``@``: how a text begins with one
any other       the word
==============  =====================================================================

It is JSON if it parses as JSON, else text (``mesh.cli.values.parse_word``); from a file or stdin
without the last line end, as ``$(...)`` takes it. ``--text`` sends text, unchanged and never taken
for JSON; ``--binary`` sends what comes from a file or stdin as bytes, unchanged. ``"-"`` in
quotes of JSON is the text -.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import click

import mesh
from mesh.cli import errors
from mesh.cli.values import parse_word

__all__ = ["MAX_BYTES", "Bodies", "body_options", "file_option"]

F = TypeVar("F", bound=Callable[..., Any])

MAX_BYTES = 16 * 1024 * 1024
"""Read of one file, or one line: nothing larger can be sent by any verb."""


def body_options(function: F) -> F:
    """``--text`` and ``--binary``, which arrive as ``form``; the later one wins."""
    for form, what in (
        ("binary", "Send what is read from a file or stdin as bytes, unchanged."),
        ("text", "Send text unchanged, even if it parses as JSON."),
    ):
        function = click.option(f"--{form}", "form", flag_value=form, default=None, help=what)(
            function
        )
    return function


def file_option(function: F) -> F:
    """``--file``, which is ``@PATH`` for shells that complete the names of files."""
    return click.option(
        "--file",
        "path",
        metavar="PATH",
        type=click.Path(allow_dash=True),
        help="Read DATA from this file, as @PATH does.",
    )(function)


BATCH_BYTES = 64 * 1024
"""Of lines that are taken at a time: what a pipe holds."""


class Bodies:
    """The values of one command. ``form`` is None, "text" or "binary"."""

    def __init__(self, form: str | None) -> None:
        self._form = form
        self._has_read_stdin = False

    def data(self, word: str | None, path: str | None) -> Any:
        """DATA, given as a word or as ``--file``; None without either."""
        if word is not None and path is not None:
            raise click.UsageError("DATA and --file are both given; use one")
        if path is not None:
            return self._read(path)
        return self.value(word) if word is not None else None

    def value(self, word: str) -> Any:
        """What a word stands for.

        Raises UsageError for a file that cannot be read or is no text, PayloadTooLarge.
        """
        path = _path_of(word)
        if path is not None:
            return self._read(path)
        text = word[1:] if word.startswith("@@") else word
        return text if self._form == "text" else parse_word(text)

    def lines(self, word: str | None, path: str | None) -> Iterator[Any]:
        """A value for each line of stdin, or of the file, as they come; raises as ``value``."""
        if word is not None:
            path = _path_of(word) if path is None else None
            if path is None:
                raise click.UsageError("--lines takes stdin, or one file: @PATH or --file PATH")
        return self._lines("-" if path is None else path)

    def _lines(self, path: str) -> Iterator[Any]:
        with self._open(path) as file:
            while line := file.readline(MAX_BYTES + 1):
                _check_size(line, path)
                yield self._decode(line.removesuffix(b"\n").removesuffix(b"\r"), path)

    def batches(self) -> Iterator[list[Any]]:
        """The lines of stdin, all that are there at a time; raises as ``value``."""
        with self._open("-") as file:
            rest = b""
            read = getattr(file, "read1", file.read)  # what is there, and no more
            while data := read(BATCH_BYTES):
                *lines, rest = (rest + data).split(b"\n")
                _check_size(rest, "-")
                if lines:
                    yield [self._decode(line.removesuffix(b"\r"), "-") for line in lines]
            if rest:
                yield [self._decode(rest, "-")]

    def _read(self, path: str) -> Any:
        with self._open(path) as file:
            content = file.read(MAX_BYTES + 1)
        _check_size(content, path)
        if self._form is None:
            content = content.removesuffix(b"\n").removesuffix(b"\r")
        return self._decode(content, path)

    def _decode(self, content: bytes, path: str) -> Any:
        if self._form == "binary":
            return content
        try:
            text = content.decode()
        except UnicodeDecodeError:
            what = "what stdin gave" if path == "-" else path
            raise click.UsageError(f"{what} is no UTF-8 text; --binary sends it as bytes") from None
        return text if self._form == "text" else parse_word(text)

    @contextmanager
    def _open(self, path: str) -> Iterator[BinaryIO]:
        if path == "-":
            if self._has_read_stdin:
                raise click.UsageError("stdin can be read once only")
            self._has_read_stdin = True
            if sys.stdin is None:
                raise click.UsageError("there is no stdin to read from")
            if sys.stdin.isatty():
                errors.note("reading from the terminal; Ctrl-D ends it")
            yield sys.stdin.buffer
            return
        try:
            with Path(path).open("rb") as file:
                yield file
        except OSError as error:
            raise click.UsageError(f"cannot read {path}: {error.strerror}") from None


def _path_of(word: str) -> str | None:
    """The file that a word names, "-" for stdin; None when it is a value itself."""
    if word == "-":
        return "-"
    if word.startswith("@") and not word.startswith("@@"):
        if word == "@":
            raise click.UsageError("@ names no file; @@ stands for a literal @")
        return word[1:]
    return None


def _check_size(content: bytes, path: str) -> None:
    if len(content) > MAX_BYTES:
        what = "what stdin gave" if path == "-" else path
        raise mesh.PayloadTooLarge(
            f"{what} is longer than {MAX_BYTES >> 20} MiB: no message can be"
        )
