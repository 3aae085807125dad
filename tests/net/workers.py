"""Workers that take one-of-many messages, and the notes they keep.

A message's data is a number, or a list that begins with one. A handler notes each run that it
begins, and its end when it takes time, with one write to a file: a killed process loses none.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import struct
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import mesh

__all__ = ["BEGAN", "ENDED", "Note", "Worker", "member", "members", "note", "read_notes"]

BEGAN = 0
ENDED = 1

_NOTE = struct.Struct("<dIHBB")


class Note(NamedTuple):
    """One line of a worker's file. ``running`` counts the handlers that run, this one included."""

    when: float
    number: int
    running: int
    is_marked: bool
    what: int


class Notebook:
    """Written by a worker, one system call for each note."""

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def write(self, number: int, running: int, is_marked: bool, what: int) -> None:
        os.write(self._file, _NOTE.pack(time.monotonic(), number, running, is_marked, what))


def read_notes(path: Path) -> Iterator[Note]:
    data = path.read_bytes() if path.exists() else b""
    for when, number, running, is_marked, what in _NOTE.iter_unpack(data):
        yield Note(when, number, running, bool(is_marked), what)


class Worker:
    """One handler, or one reader, of a node. ``spec`` says of what, and how it is handled.

    ``group``        a group to be a member of; or
    ``pattern``      what to subscribe to, in the queue group ``queue`` if that is given
    ``mode``         "inline", "pool", "async", or "read" for an iterator in a thread of its own
    ``concurrency``  of the handler
    ``seconds``      that it takes; 0: it notes and returns
    ``refuses``      whether it refuses what it gets
    ``notes``        the file
    """

    def __init__(self, node: mesh.Node, spec: dict[str, Any]) -> None:
        self._node = node
        self._spec = spec
        self._seconds: float = spec.get("seconds", 0.0)
        self._refuses: bool = spec.get("refuses", False)
        self._notes = Notebook(spec["notes"])
        self._running = 0
        self._lock = threading.Lock()
        mode = spec["mode"]
        if mode == "read":
            self._listen()
            return
        handler: Callable[[mesh.Message], Any] = self._run
        if mode == "async":
            handler = self._run_async
        elif self._seconds == 0 and not self._refuses:
            handler = self._note
        options: dict[str, Any] = {"inline": mode == "inline"}
        options["concurrency"] = spec.get("concurrency", 1)
        if "group" in spec:
            node.member(spec["group"], **options)(handler)
        else:
            node.subscriber(spec["pattern"], group=spec.get("queue"), **options)(handler)

    def _note(self, message: mesh.Message) -> None:
        data = message.data
        number = data if isinstance(data, int) else data[0]
        self._notes.write(number, 1, message.redelivered, BEGAN)

    def _begin(self, message: mesh.Message) -> int:
        data = message.data
        number: int = data if isinstance(data, int) else data[0]
        with self._lock:
            self._running += 1
            self._notes.write(number, self._running, message.redelivered, BEGAN)
        return number

    def _end(self, number: int, message: mesh.Message) -> None:
        with self._lock:
            self._running -= 1
            self._notes.write(number, self._running, message.redelivered, ENDED)
        if self._refuses:
            raise mesh.Refuse

    def _run(self, message: mesh.Message) -> None:
        number = self._begin(message)
        if self._seconds:
            time.sleep(self._seconds)
        self._end(number, message)

    async def _run_async(self, message: mesh.Message) -> None:
        number = self._begin(message)
        try:
            if self._seconds:
                await asyncio.sleep(self._seconds)
        finally:
            self._end(number, message)

    # Readers.

    def _listen(self) -> None:
        node, spec = self._node, self._spec
        if "group" in spec:
            reader = node.join(spec["group"])
        else:
            reader = node.subscribe(spec["pattern"], group=spec.get("queue"))
        threading.Thread(target=self._read, args=(reader,), daemon=True).start()

    def _read(self, reader: Iterable[mesh.Message]) -> None:
        for message in reader:
            self._note(message)
            if self._seconds:
                time.sleep(self._seconds)


MODES = ("inline", "pool", "async", "read")


def note(**spec: Any) -> dict[str, Any]:
    """A worker's spec, inline unless it says otherwise."""
    return {"mode": "inline"} | spec


def member(**spec: Any) -> dict[str, Any]:
    """A worker of the group "crew"."""
    return note(group="crew", **spec)


def members(count: int, mode: str, **spec: Any) -> list[dict[str, Any]]:
    """So many workers of the group "crew", of one mode or "mixed": of all that are there."""
    modes = itertools.cycle(MODES if mode == "mixed" else (mode,))
    return [member(mode=next(modes), **spec) for _ in range(count)]
