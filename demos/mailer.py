"""Mails that are sent once each, though a worker is killed and their shop is stopped meanwhile.

    python -m demos.mailer

The shop keeps its mails in a queue in a file. Two processes send them; the first is killed in the
middle. What it had is sent by the other one, and begun a second time: so the table of what was sent
knows the ids of jobs (``mesh.Inbox``), and the second time sends nothing.

Surprise: a real mail server is no table of ours. There a mail may go out twice, in the moment
between the server's answer and the note of it; no queue can change that.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import mesh

MAILS = 60
PACE = 0.03
"""Seconds that a handler needs after the mail is sent: whoever is killed then has not said so."""

PATIENCE = 60.0
"""Seconds, on a machine under load."""

SCHEMA = "CREATE TABLE begun (mail); CREATE TABLE sent (mail, worker);"


@contextmanager
def outbox(folder: str) -> Iterator[sqlite3.Connection]:
    """What was sent, and how often it was begun."""
    path = Path(folder, "sent.db")
    with closing(sqlite3.connect(path, timeout=PATIENCE, isolation_level=None)) as connection:
        yield connection


def counted(folder: str) -> tuple[int, int, int]:
    """How often mails were begun, how many were sent, and to how many customers."""
    with outbox(folder) as connection:
        row = connection.execute(
            "SELECT (SELECT count(*) FROM begun), count(*), count(DISTINCT mail) FROM sent"
        ).fetchone()
    begun, sent, customers = row
    return begun, sent, customers


def work(worker: str, folder: str) -> None:
    """One worker, until SIGTERM, or until who started it is gone."""
    logging.getLogger("mesh").setLevel(logging.ERROR)  # what it loses is on the page
    node, inbox = mesh.Node(worker), mesh.Inbox(Path(folder, "sent.db"))

    @node.worker("mails", concurrency=2)
    def send(job: mesh.HeldJob) -> str:
        if "@" not in job.data:
            raise mesh.Dead("no address")
        with outbox(folder) as connection:
            connection.execute("INSERT INTO begun VALUES (?)", [job.data])
            with inbox.once(connection, job.id) as is_first:
                if is_first:
                    connection.execute("INSERT INTO sent VALUES (?, ?)", [job.data, worker])
        time.sleep(PACE)
        return worker

    def end_with_parent() -> None:
        os.read(0, 1)  # a pipe that nothing is written to
        node.close()

    threading.Thread(target=end_with_parent, daemon=True).start()
    node.run()


@contextmanager
def shop(folder: str) -> Iterator[mesh.Queue]:
    """The queue, for as long as the shop is open."""
    with mesh.Node("shop") as node:
        yield node.queue("mails", store=f"sqlite:///{folder}/mails.db", keep_results=600)


def until_sent(folder: str, number: int) -> None:
    ends = time.monotonic() + PATIENCE
    while counted(folder)[1] < number:
        if time.monotonic() > ends:
            raise TimeoutError(f"{number} mails were not sent within {PATIENCE:g} s")
        time.sleep(0.005)


def play(folder: str, workers: ExitStack) -> bool:
    """The whole scene; whether it went as promised."""

    def start(worker: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "demos.mailer", worker, folder]
        process = workers.enter_context(
            subprocess.Popen(command, stdin=subprocess.PIPE)  # noqa: S603
        )
        workers.callback(process.kill)
        return process

    with outbox(folder) as connection:
        connection.executescript(f"PRAGMA journal_mode = WAL; {SCHEMA}")
    first, _ = start("worker-1"), start("worker-2")
    with shop(folder) as mails:
        mails.put_many(f"customer-{number}@example.org" for number in range(MAILS))
        wrong = mails.put("customer-60.example.org")
        last = mails.put("customer-61@example.org")
        print(f"shop: {MAILS + 2} mails are on the disk")
        until_sent(folder, MAILS // 3)
        first.kill()
        first.wait()
        print(f"{counted(folder)[1]} are sent, and worker-1 is killed")
        until_sent(folder, 2 * MAILS // 3)
    print("the shop is stopped; it begins anew, with what is in its file")
    with shop(folder) as mails:
        who = mails.job(last.id).result(timeout=PATIENCE)
        print(f"the last one is sent by {who}")
        until_sent(folder, MAILS + 1)
        (dead,) = mails.peek("dead")
        print(f"given up: {dead.data}, {dead.reason}. It is mended, and tried again")
        mails.edit(wrong.id, "customer-60@example.org")
        mails.kick(id=wrong.id)
        mails.job(wrong.id).result(timeout=PATIENCE)
    begun, sent, customers = counted(folder)
    is_right = sent == customers == MAILS + 2
    print(f"{customers} customers got {sent} mails:", "one each" if is_right else "this is WRONG")
    print(f"{begun - sent} were begun a second time, and not sent again")
    return is_right


def main(arguments: list[str]) -> int:
    match arguments:
        case []:
            os.environ["MESH_NAME"] = f"mailer-{os.getpid()}"  # for the workers, too
            with tempfile.TemporaryDirectory() as folder, ExitStack() as workers:
                try:
                    return 0 if play(folder, workers) else 1
                except KeyboardInterrupt:
                    return 130
        case [worker, folder]:
            work(worker, folder)
            return 0
    print("usage: python -m demos.mailer", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
