"""Values on a command line: from words to Python, and from Python to JSON.

Words that parse as JSON are JSON, all others are text, so ``2``, ``true``, ``null`` and
``'{"a": 1}'`` are values, ``hello`` is text, and ``'"2"'`` is the text 2.

The other way, what JSON cannot carry is rendered as text that loses the type but no information:

==================  ==============================================================
value               JSON
==================  ==============================================================
bytes               base64 text (RFC 4648)
datetime            ISO 8601 text
UUID, Decimal       their text
set, frozenset      array, sorted by the JSON of the elements
NaN, infinities     "NaN", "Infinity", "-Infinity"
keys of a map       text as it is, others as the text of their JSON; where that makes
                    two keys one, the map is an array of [key, value]
unknown extension   [code, base64]
==================  ==============================================================
"""

from __future__ import annotations

import base64
import json
import math
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime, time
from typing import Any, NoReturn

import click

__all__ = ["parse_word", "size_of", "split_words", "to_json", "to_text"]

ONE_LINE_CHARS = 78
"""JSON for people that fits this stays on one line; a terminal has 80 columns or more."""

_KEYWORD = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=(.*)", re.DOTALL)


def parse_word(word: str) -> Any:
    """A word as JSON when it parses, else as the text it is."""
    try:
        return json.loads(word, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return word


def split_words(
    words: Iterable[str], value: Callable[[str], Any]
) -> tuple[list[Any], dict[str, Any]]:
    """Words as positional and keyword arguments; ``value`` says what each stands for.

    Raises UsageError for a repeated keyword.
    """
    positional: list[Any] = []
    named: dict[str, Any] = {}
    for word in words:
        found = _KEYWORD.fullmatch(word)
        if found is None:
            positional.append(value(word))
        elif found[1] in named:
            raise click.UsageError(f"the keyword argument {found[1]!r} is given twice")
        else:
            named[found[1]] = value(found[2])
    return positional, named


def to_json(value: Any, *, indent: int | None = None) -> str:
    """Any value a message can carry as JSON. ASCII only where the output is not UTF-8.

    :raises ClickException: it is nested more deeply than Python's own stack
    """
    encoding = (getattr(sys.stdout, "encoding", None) or "ascii").replace("-", "").lower()
    try:
        return json.dumps(
            _plain(value), indent=indent, ensure_ascii=encoding != "utf8", allow_nan=False
        )
    except RecursionError:
        raise click.ClickException("the value is nested too deeply to be shown") from None


def to_text(value: Any) -> str:
    """A value for people: texts as they are, all else as JSON, on one line if it is short."""
    plain = _plain(value) if not isinstance(value, list | tuple | Mapping) else None
    if isinstance(plain, str):
        return plain
    line = to_json(value)
    return line if len(line) <= ONE_LINE_CHARS else to_json(value, indent=2)


def size_of(value: Any) -> int:
    """Bytes of a value: of bytes and texts as they are, of all else as JSON."""
    if isinstance(value, bytes | bytearray | memoryview):
        return len(value)
    return len((value if isinstance(value, str) else to_json(value)).encode(errors="replace"))


def _no_constant(word: str) -> NoReturn:
    """NaN and Infinity are no JSON: they are text."""
    raise ValueError(word)


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else json.dumps(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return base64.b64encode(value).decode("ascii")
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, set | frozenset):
        return sorted((_plain(item) for item in value), key=json.dumps)
    if isinstance(value, Mapping):
        return _plain_map(value)
    return str(value)


def _plain_map(value: Mapping[Any, Any]) -> Any:
    pairs = [(_key(key), _plain(item)) for key, item in value.items()]
    plain = dict(pairs)
    if len(plain) == len(pairs):
        return plain
    return [[_plain(key), _plain(item)] for key, item in value.items()]


def _key(key: Any) -> str:
    plain = _plain(key)
    return plain if isinstance(plain, str) else json.dumps(plain)
