"""Text of strangers, made fit for a terminal and for a file system.

Whatever came from another node, or from a file's name, passes through here before it is kept:
a terminal obeys what is in a text, and a file system what is in a name.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata

__all__ = [
    "MAX_NICK_CHARS",
    "MAX_TEXT_CHARS",
    "clean",
    "clean_line",
    "clean_nick",
    "nick_fault",
    "number_of",
    "safe_file_name",
    "size_text",
]

MAX_TEXT_CHARS = 8000
"""Of one message: two hundred of them, at four bytes each, fit the answer of one call."""

MAX_NICK_CHARS = 24
"""Nicks stand in front of every line."""

MAX_FILE_NAME_BYTES = 200
"""File systems take 255; the rest is for " (2)" and for the name of the unfinished file."""

_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Controls, formats such as the reversal of direction, surrogates, and what is no character."""

_ALLOWED = frozenset("\n\u200c\u200d")
"""Line ends; and the joiners that emoji and several scripts are written with."""

_TAB = "    "
_NOT_IN_NICKS = re.compile(r"\s")


def clean(text: str, limit: int = MAX_TEXT_CHARS) -> str:
    """``text`` with what a terminal might obey written out (``\\x1b``), of at most ``limit``."""
    text = text[: limit + 1].replace("\r\n", "\n").replace("\r", "\n").replace("\t", _TAB)
    text = "".join(map(_shown, text))
    return text if len(text) <= limit else text[: limit - 1] + "…"


def clean_line(text: str, limit: int = 200) -> str:
    """``clean``, on one line."""
    return clean(" ".join(text[: limit * 2].split()), limit)


def _shown(char: str) -> str:
    if char in _ALLOWED or unicodedata.category(char) not in _HIDDEN:
        return char
    code = ord(char)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def nick_fault(nick: str) -> str | None:
    """What is wrong with a nick of one's own; None if nothing is."""
    if not nick:
        return "it is empty"
    if len(nick) > MAX_NICK_CHARS:
        return f"it has {len(nick)} characters; at most {MAX_NICK_CHARS} are allowed"
    if clean_nick(nick) != nick:
        return "blanks, control characters and ~ are not allowed, nor @ # / in front"
    return None


def clean_nick(nick: str, otherwise: str = "somebody") -> str:
    """Another's nick as one that could have been typed here."""
    nick = _NOT_IN_NICKS.sub("_", nick[: MAX_NICK_CHARS * 2]).replace("~", "-").lstrip("@#/")
    return clean(nick, MAX_NICK_CHARS) or otherwise


def number_of(nick: str, count: int) -> int:
    """A number below ``count`` that is the same for this nick everywhere: its colour."""
    digest = hashlib.blake2b(nick.casefold().encode("utf-8", "replace"), digest_size=4).digest()
    return int.from_bytes(digest, "big") % count


def safe_file_name(name: str) -> str:
    """A name in this folder and no other, for a file that somebody calls ``name``."""
    name = re.split(r"[/\\]", name[:4096])[-1]
    name = "".join(
        "_" if char in '<>:"|?*' or unicodedata.category(char) in _HIDDEN else char for char in name
    )
    name = name.strip().lstrip(".").rstrip(". ")
    stem, dot, suffix = name.rpartition(".")
    if not dot or len(suffix.encode()) > MAX_FILE_NAME_BYTES // 4:
        stem, suffix = name, ""
    ending = f".{suffix}" if suffix else ""
    room = MAX_FILE_NAME_BYTES - len(ending.encode())
    return (stem.encode()[:room].decode(errors="ignore").strip() or "file") + ending


def size_text(size_bytes: float) -> str:
    """ "812 B", "1.4 MiB"."""
    size, units = size_bytes, ["B", "KiB", "MiB", "GiB"]
    while size >= 1024 and len(units) > 1:
        size, units = size / 1024, units[1:]
    return f"{size:.0f} B" if units[0] == "B" else f"{size:.1f} {units[0]}"
