"""The keys of a terminal, one at a time and not shown; what was set before is put back."""

from __future__ import annotations

import os
import sys
import termios
import tty
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["decode", "raw_keys"]

MAX_BYTES = 1024
"""Of one read; a paste of more comes in several."""

_NAMES = {
    "\r": "enter",
    "\n": "enter",
    "\t": "tab",
    "\x7f": "backspace",
    "\x08": "backspace",
    "\x1b[A": "up",
    "\x1b[B": "down",
    "\x1b[C": "right",
    "\x1b[D": "left",
    "\x1bOA": "up",
    "\x1bOB": "down",
    "\x1bOC": "right",
    "\x1bOD": "left",
    "\x1b[5~": "pgup",
    "\x1b[6~": "pgdn",
    "\x1b[H": "home",
    "\x1b[F": "end",
    "\x1bOH": "home",
    "\x1bOF": "end",
    "\x1b[1~": "home",
    "\x1b[4~": "end",
}


def decode(data: bytes) -> list[str]:
    """The keys behind what a terminal sent, by their names; unknown sequences are left out."""
    text = data.decode(errors="ignore")
    keys = []
    while text:
        taken = _first(text)
        key = _NAMES.get(taken, "escape" if taken == "\x1b" else taken)
        if len(taken) == 1 and key == taken and not taken.isprintable():
            key = ""
        if key and not key.startswith("\x1b"):
            keys.append(key)
        text = text[len(taken) :]
    return keys


def _first(text: str) -> str:
    """The first key's characters: a sequence goes up to its final byte (ECMA-48)."""
    if text[0] != "\x1b" or text[1:2] not in ("[", "O"):
        return text[0]
    for end in range(2, len(text)):
        if "@" <= text[end] <= "~":
            return text[: end + 1]
    return text


@contextmanager
def raw_keys() -> Iterator[int | None]:
    """A descriptor on which each key can be read at once; None if stdin is no terminal.

    Ctrl-C is a signal as before. Ctrl-Z is nothing: the shell would stand on our screen.

    It is opened anew: a loop reads without blocking, which for stdin itself would hold for all who
    share it, our own output and the shell's next ``read`` included.
    """
    if not sys.stdin.isatty():
        yield None
        return
    descriptor = os.open(os.ttyname(sys.stdin.fileno()), os.O_RDONLY | os.O_NOCTTY)
    try:
        before = termios.tcgetattr(descriptor)
        try:
            tty.setcbreak(descriptor)
            now = termios.tcgetattr(descriptor)
            now[6][termios.VSUSP] = bytes([os.fpathconf(descriptor, "PC_VDISABLE")])
            termios.tcsetattr(descriptor, termios.TCSANOW, now)
            yield descriptor
        finally:
            termios.tcsetattr(descriptor, termios.TCSAFLUSH, before)
    finally:
        os.close(descriptor)
