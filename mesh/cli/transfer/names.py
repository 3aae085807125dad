"""File names that strangers choose, made fit for one folder and no other."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

__all__ = ["MAX_NAME_BYTES", "MAX_SAME", "names_like", "part_name", "safe_name"]

MAX_NAME_BYTES = 200
"""File systems take 255; the rest is for " (999)" and for what an unfinished file is called."""

MAX_SAME = 1000
"""Files of one name that are told apart by numbers."""

_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Controls, formats such as the reversal of direction, surrogates, and what is no character."""

_SPECIAL = frozenset('<>:"|?*')
"""What some file systems refuse, and shells take for their own."""

_LONGEST_SUFFIX = 20


def safe_name(name: str) -> str:
    """The last part of what may be a path, without what a file system or terminal would obey.

    Never empty, and it begins with no dot: so it is hidden by nobody, and no unfinished file.
    """
    last = re.split(r"[/\\]", name[:4096])[-1]
    kept = "".join(map(_plain, last)).strip(" .")
    stem, suffix = _split(kept)
    room = MAX_NAME_BYTES - len(suffix.encode())
    stem = stem.encode()[:room].decode(errors="ignore").strip()
    return (stem or "file") + suffix


def _plain(char: str) -> str:
    category = unicodedata.category(char)
    if category == "Zs":
        return " "  # there are blanks that look like others, or like nothing
    return "_" if char in _SPECIAL or category in _HIDDEN else char


def part_name(name: str) -> str:
    """Of what has come of the file ``name`` so far."""
    return f".{name}.part"


def names_like(name: str) -> Iterator[str]:
    """ "a.txt", "a (1).txt", "a (2).txt" ..."""
    yield name
    stem, suffix = _split(name)
    for number in range(1, MAX_SAME):
        yield f"{stem} ({number}){suffix}"


def _split(name: str) -> tuple[str, str]:
    stem, dot, suffix = name.rpartition(".")
    if not dot or not stem or len(suffix.encode()) > _LONGEST_SUFFIX:
        return name, ""
    return stem, f".{suffix}"
