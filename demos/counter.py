"""Count words at the replica that owns each word, while replicas come, die and leave.

    python -m demos.counter

Replicas are processes of one service, with an actor for each word. An actor writes its count to a
file of SQLite before it answers, with its fence: what is killed loses nothing, and who is an owner
no more cannot write. The occurrences are numbered: one that is sent again is not counted again.

Surprise: an actor that only kept its count, and wrote it in ``on_stop``, would hand it over just
as well when its replica is told to leave; but when it is killed all of that would be gone.
"""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import ExitStack, closing
from pathlib import Path

from rich.live import Live
from rich.table import Table
from rich.text import Text

import mesh

TEXT = "how much wood would a woodchuck chuck if a woodchuck could chuck wood"
WORDS = TEXT.split() * 2
PACE = 0.02
"""Seconds between words on a terminal, so that one can watch."""

COLOURS = {"counter-1": "red", "counter-2": "green", "counter-3": "blue"}
SCHEMA = "CREATE TABLE counts (word TEXT PRIMARY KEY, count INTEGER, last INTEGER, fence INTEGER)"
READ = "SELECT count, last FROM counts WHERE word = ?"
WRITE = """INSERT INTO counts VALUES (?, ?, ?, ?) ON CONFLICT (word) DO UPDATE SET
    count = excluded.count, last = excluded.last, fence = excluded.fence
    WHERE fence <= excluded.fence"""


class Store:
    """A file that all replicas write to."""

    def __init__(self, path: str) -> None:
        self._path = path

    def _run(self, sql: str, *values: object) -> tuple[list[tuple[int, int]], int]:
        with closing(sqlite3.connect(self._path, timeout=10)) as file, file:
            cursor = file.execute(sql, values)
            return cursor.fetchall(), cursor.rowcount

    def create(self) -> None:
        self._run(SCHEMA)

    def read(self, word: str) -> tuple[int, int]:
        """Its count, and the number of the last occurrence that was counted."""
        return next(iter(self._run(READ, word)[0]), (0, 0))

    def write(self, word: str, count: int, last: int, fence: int | None) -> bool:
        """False if it has been written with a larger fence."""
        return self._run(WRITE, word, count, last, fence)[1] == 1


def serve(instance: str, path: str) -> None:
    """One replica, until SIGTERM: then it hands over; or until who started it is gone."""
    node, store = mesh.Node("counter", instance=instance), Store(path)

    @node.actor("counter")
    class WordCounter:
        def __init__(self, word: str) -> None:
            self.word = word

        def on_start(self) -> None:  # the owner before has ended all its work on this word
            self.count, self.last = store.read(self.word)

        def add(self, number: int, request: mesh.Request) -> tuple[str, int, int | None]:
            if number > self.last:
                if not store.write(self.word, self.count + 1, number, request.fence):
                    raise RuntimeError(f"{instance} does not own {self.word!r} any more")
                self.count, self.last = self.count + 1, number
            return instance, self.count, request.fence

    def end_with_parent() -> None:
        os.read(0, 1)  # a pipe that nothing is written to
        node.close()

    threading.Thread(target=end_with_parent, daemon=True).start()
    node.run()


class Tally:
    """What was counted so far, and where: a column for each act."""

    def __init__(self, node: mesh.Node) -> None:
        self.words = {word: node.service("counter", key=word, retry=True, timeout=20, wait=10)
                      for word in sorted(set(WORDS))}  # fmt: skip
        self.number = 0
        self.acts: dict[str, dict[str, tuple[str, int, int]]] = {}
        self.longest: dict[str, float] = {}
        self.live = Live(get_renderable=self.table)

    def count(self, act: str) -> None:
        """Have the whole text counted, word by word."""
        done = self.acts.setdefault(act, {})
        for word in WORDS:
            self.number += 1
            began = time.monotonic()
            instance, count, fence = self.words[word].add(self.number)
            self.longest[act] = max(self.longest.get(act, 0), time.monotonic() - began)
            done[word] = instance, count, fence
            time.sleep(PACE if self.live.console.is_terminal else 0)

    def table(self) -> Table:
        acts = self.acts.copy()  # rich asks from a thread of its own
        table = Table("word", *acts, box=None)
        for word in self.words:
            cells, before = [], ""
            for done in acts.values():
                owner, count, _ = done.get(word, ("", "", 0))
                moved = "*" if before and owner not in ("", before) else " "
                cells.append(Text(f"{owner} {count:>3}{moved}", COLOURS.get(owner, "")))
                before = owner
            table.add_row(word, *cells)
        table.add_row("longest wait", *(f"{self.longest.get(act, 0):.2f} s" for act in acts))
        return table


def play(path: str, replicas: ExitStack) -> bool:
    """The whole scene; whether it went as promised."""

    def start(instance: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "demos.counter", instance, path]
        process = replicas.enter_context(
            subprocess.Popen(command, stdin=subprocess.PIPE)  # noqa: S603
        )
        replicas.callback(process.kill)
        return process

    store = Store(path)
    store.create()
    first, second = start("counter-1"), start("counter-2")
    with mesh.Node("teller") as node:
        tally = Tally(node)
        with tally.live:
            node.wait_for("counter", count=2, timeout=60)
            tally.count("at first")
            start("counter-3")
            tally.count("a third joins")  # while it starts
            node.wait_for("counter", count=3, timeout=60)
            tally.count("a third joins")
            threading.Timer(PACE, first.kill).start()  # in the middle of it
            tally.count("1 is killed")
            first.wait()
            tally.count("1 is killed")
            second.terminate()
            tally.count("2 leaves")
            second.wait()
            tally.count("2 leaves")
    counts = {word: store.read(word)[0] for word in tally.words}
    is_right = counts == Counter(WORDS * (tally.number // len(WORDS)))
    print(f"\n{tally.number} words were sent, {sum(counts.values())} are in the store:",
          "each was counted once" if is_right else "this is WRONG")  # fmt: skip
    owner, _, fence = tally.acts["at first"]["chuck"]
    is_refused = not store.write("chuck", 0, 0, fence)
    print(f"a late write of 'chuck' with the fence of {owner}:",
          "refused" if is_refused else "WRITTEN, and that is wrong")  # fmt: skip
    return is_right and is_refused


def main(arguments: list[str]) -> int:
    match arguments:
        case []:
            os.environ["MESH_NAME"] = f"counter-{os.getpid()}"  # for the replicas, too
            with tempfile.TemporaryDirectory() as folder, ExitStack() as replicas:
                try:
                    return 0 if play(str(Path(folder, "counts.db")), replicas) else 1
                except KeyboardInterrupt:
                    return 130
        case [instance, path]:
            serve(instance, path)
            return 0
    print("usage: python -m demos.counter", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
