"""A message that comes twice has its effect once, whatever fails in between."""

from __future__ import annotations

import contextlib
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import mesh
from mesh.stores import Inbox, inbox

Open = Callable[[], sqlite3.Connection]

PATIENCE = 60.0

MODES: dict[str, dict[str, Any]] = {
    "deferred": {},
    "immediate": {"isolation_level": "IMMEDIATE"},
    "none": {"isolation_level": None},
}
if sys.version_info >= (3, 12):
    MODES |= {"autocommit": {"autocommit": True}, "pep-249": {"autocommit": False}}


@pytest.fixture(params=MODES)
def mode(request: pytest.FixtureRequest) -> dict[str, Any]:
    return MODES[request.param]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "shop.db"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE sold (item TEXT)")
        connection.commit()
    Inbox(path)
    return path


@pytest.fixture
def connect(path: Path, mode: dict[str, Any]) -> Iterator[Open]:
    with contextlib.ExitStack() as stack:

        def connect() -> sqlite3.Connection:
            connection = sqlite3.connect(path, check_same_thread=False, timeout=20, **mode)
            return stack.enter_context(contextlib.closing(connection))

        yield connect


def sell(inbox: Inbox, connection: sqlite3.Connection, id: str) -> bool:
    with inbox.once(connection, id) as is_first:
        if is_first:
            connection.execute("INSERT INTO sold VALUES (?)", (id,))
    if connection.in_transaction:
        end(connection, "COMMIT")
    return is_first


def end(connection: sqlite3.Connection, how: str) -> None:
    """A transaction that is the user's."""
    if getattr(connection, "autocommit", None) is False:
        # One is always open, and its methods alone know that.
        (connection.commit if how == "COMMIT" else connection.rollback)()
    else:
        connection.execute(how)


def sell_in_vain(inbox: Inbox, connection: sqlite3.Connection, id: str, failure: type) -> None:
    with inbox.once(connection, id) as is_first:
        assert is_first
        connection.execute("INSERT INTO sold VALUES (?)", (id,))
        raise failure


def sold(path: Path) -> list[str]:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return [item for (item,) in connection.execute("SELECT item FROM sold ORDER BY rowid")]


def known(path: Path, table: str = "mesh_inbox") -> list[str]:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        query = f"SELECT id FROM {table} ORDER BY number"  # noqa: S608
        return [id for (id,) in connection.execute(query)]


def test_the_effect_is_had_once_for_each_id(path: Path, connect: Open) -> None:
    inbox, connection = mesh.Inbox(), connect()
    assert [sell(inbox, connection, id) for id in ("a", "a", "b", "a")] == [
        True,
        False,
        True,
        False,
    ]
    assert not sell(inbox, connect(), "b")
    assert sold(path) == ["a", "b"]


def test_an_exception_takes_back_the_effect_and_the_id(path: Path, connect: Open) -> None:
    inbox, connection = Inbox(), connect()
    for error in (ZeroDivisionError, KeyboardInterrupt):
        with pytest.raises(error):
            sell_in_vain(inbox, connection, "a", error)
    assert (sold(path), known(path)) == ([], [])
    assert sell(inbox, connection, "a")
    assert sold(path) == ["a"]


def test_in_a_transaction_of_ones_own_one_commits_oneself(path: Path, connect: Open) -> None:
    inbox, connection = Inbox(), connect()
    if not connection.in_transaction:
        connection.execute("BEGIN")
    for id in ("a", "b", "a"):
        with inbox.once(connection, id) as is_first:
            if is_first:
                connection.execute("INSERT INTO sold VALUES (?)", (id,))
    with pytest.raises(ZeroDivisionError):
        sell_in_vain(inbox, connection, "c", ZeroDivisionError)
    assert connection.in_transaction
    assert (sold(path), known(path)) == ([], [])
    end(connection, "COMMIT")
    assert (sold(path), known(path)) == (["a", "b"], ["a", "b"])


def test_a_rollback_of_ones_own_transaction_takes_back_all_in_it(path: Path, connect: Open) -> None:
    inbox, connection = Inbox(), connect()
    if not connection.in_transaction:
        connection.execute("BEGIN")
    with inbox.once(connection, "a"):
        connection.execute("INSERT INTO sold VALUES ('a')")
    end(connection, "ROLLBACK")
    assert sell(inbox, connection, "a")


@pytest.mark.parametrize("mode", ["deferred"], indirect=True)
def test_of_two_connections_with_one_id_only_one_is_first(path: Path, connect: Open) -> None:
    inbox, rounds = Inbox(), 25
    gate = threading.Barrier(2)
    firsts: list[str] = []

    def work(connection: sqlite3.Connection) -> None:
        for number in range(rounds):
            gate.wait(PATIENCE)
            if sell(inbox, connection, str(number)):
                firsts.append(str(number))

    threads = [threading.Thread(target=work, args=(connect(),)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert sorted(firsts) == sorted(sold(path)) == sorted(map(str, range(rounds)))


@pytest.mark.parametrize("mode", ["deferred"], indirect=True)
def test_one_that_waits_for_the_other_sees_what_it_did(path: Path, connect: Open) -> None:
    one, two, ends = connect(), connect(), []
    other = threading.Thread(target=lambda: ends.append(sell(Inbox(), two, "a")))
    with Inbox().once(one, "a") as is_first:
        other.start()
        other.join(0.05)
        assert ends == []
    other.join(PATIENCE)
    assert (is_first, ends) == (True, [False])


@pytest.mark.parametrize("mode", ["none"], indirect=True)
def test_a_database_that_stays_locked_is_an_error_and_nothing_is_done(
    path: Path, connect: Open
) -> None:
    one, two = connect(), connect()
    two.execute("PRAGMA busy_timeout = 1")
    with Inbox().once(one, "a"), pytest.raises(sqlite3.OperationalError, match="locked"):
        sell(Inbox(), two, "b")
    assert not two.in_transaction
    assert sell(Inbox(), two, "b")


@pytest.mark.parametrize(
    "interrupt",
    [
        lambda connection: connection.execute("COMMIT"),
        lambda connection: connection.execute("ROLLBACK"),
        lambda connection: connection.executescript("SELECT 1;"),
    ],
    ids=["commit", "rollback", "script"],
)
@pytest.mark.parametrize("mode", ["deferred"], indirect=True)
def test_who_ends_the_transaction_inside_is_told(
    path: Path, connect: Open, interrupt: Callable[[sqlite3.Connection], object]
) -> None:
    inbox, connection = Inbox(), connect()

    def interrupted() -> None:
        with inbox.once(connection, "a"):
            interrupt(connection)
            connection.execute("INSERT INTO sold VALUES ('late')")

    with pytest.raises(mesh.ConfigError, match="ended inside once"):
        interrupted()
    assert not connection.in_transaction
    assert sold(path) == []


def test_a_connection_is_inside_one_at_a_time(path: Path, connect: Open) -> None:
    inbox, connection = Inbox(), connect()
    with inbox.once(connection, "a"), pytest.raises(mesh.ConfigError, match="inside once"):
        sell(inbox, connection, "b")
    assert sell(inbox, connect(), "c") is True
    assert sell(inbox, connection, "b")


@pytest.mark.parametrize("mode", ["none"], indirect=True)
def test_ids_are_forgotten_when_they_are_old_in_small_steps(
    path: Path, connect: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    box, connection, now = Inbox(keep=100.0), connect(), [1000.0]
    monkeypatch.setattr(inbox.time, "time", lambda: now[0])
    for number in range(10):
        sell(box, connection, f"old{number}")
    now[0] += 99.0
    assert not sell(box, connection, "old0")
    sell(box, connection, "x")
    assert len(known(path)) == 11
    now[0] += 2.0
    sizes = []
    for number in range(4):
        sell(box, connection, f"new{number}")
        sizes.append(len(known(path)))
    assert sizes == [8, 5, 4, 5]
    assert known(path) == ["x", "new0", "new1", "new2", "new3"]


def test_its_table_is_made_where_it_is_told_to(tmp_path: Path) -> None:
    path = tmp_path / "new.db"
    Inbox(path, table="seen_by_audit")
    assert known(path, "seen_by_audit") == []
    with contextlib.closing(sqlite3.connect(path)) as connection:
        Inbox(connection, table="others")
        Inbox(connection, table="others")
        assert known(path, "others") == []
        with (
            pytest.raises(sqlite3.OperationalError, match="no such table"),
            Inbox().once(connection, "a"),
        ):
            pass
        assert not connection.in_transaction


@pytest.mark.parametrize("table", ["", "a b", "1st", "x;--", 'a"', "ü", "x" * 64])
def test_a_table_must_be_a_plain_name(table: str) -> None:
    with pytest.raises(mesh.BadName, match="letters, digits"):
        Inbox(table=table)


@pytest.mark.parametrize("keep", [0, -1.0, float("nan")])
def test_ids_are_kept_for_some_time(keep: float) -> None:
    with pytest.raises(mesh.ConfigError, match="keep="):
        Inbox(keep=keep)


@pytest.mark.parametrize("id", ["", "x" * 256, "ü" * 128, 7, None])
def test_an_id_must_be_a_text_that_tells_messages_apart(path: Path, id: Any) -> None:
    with (
        contextlib.closing(sqlite3.connect(path)) as connection,
        pytest.raises(mesh.BadName, match="1 to 255"),
        Inbox().once(connection, id),
    ):
        pass


# A worker is killed: at each step of the effect, and at any moment.

WORKER = r"""
import os, random, signal, sqlite3, sys, time
from mesh.stores import Inbox

path, jobs, kills, seed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
chance = random.Random(seed)
STEPS = ("began", "marked", "half", "whole", "committed")
acknowledged = os.open(path + ".acks", os.O_CREAT | os.O_RDWR | os.O_APPEND)

def work(doomed_step, doomed_job):
    def step(name):
        if name == doomed_step and number == doomed_job:
            os.kill(os.getpid(), signal.SIGKILL)
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA synchronous = NORMAL")  # nobody cuts the power
    inbox = Inbox(connection)
    for number in range(len(os.pread(acknowledged, jobs, 0)), jobs):
        step("began")
        with inbox.once(connection, f"job-{number}") as is_first:
            step("marked")
            if is_first:
                connection.execute("UPDATE account SET euros = euros + 1")
                step("half")
                connection.execute("INSERT INTO booking VALUES (?)", (number,))
            else:
                connection.execute("UPDATE account SET repeats = repeats + 1")
            step("whole")
        step("committed")
        os.write(acknowledged, b"x")
    os._exit(0)

for kill in range(kills + 1):
    begin = len(os.pread(acknowledged, jobs, 0))
    step = STEPS[kill % len(STEPS)] if kill % 2 == 0 and kill < kills else None
    pid = os.fork()
    if pid == 0:
        work(step, begin + chance.randrange(3))
    if step is None and kill < kills:
        time.sleep(chance.random() * 0.01)
        os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
"""


def kill_workers(tmp_path: Path, kills: int, seed: int) -> int:
    """Returns how many jobs came twice after their effect."""
    # More than are done while a kill is waited for: there must be some left for the next.
    path, jobs = tmp_path / "bank.db", 40 * kills
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE account (euros INTEGER, repeats INTEGER)")
        connection.execute("INSERT INTO account VALUES (0, 0)")
        connection.execute("CREATE TABLE booking (number INTEGER)")
        connection.commit()
        Inbox(connection)
    arguments = [str(path), str(jobs), str(kills), str(seed)]
    subprocess.run([sys.executable, "-c", WORKER, *arguments], check=True, timeout=PATIENCE + kills)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        ((euros, repeats),) = connection.execute("SELECT euros, repeats FROM account").fetchall()
        booked = [n for (n,) in connection.execute("SELECT number FROM booking ORDER BY rowid")]
    assert booked == list(range(jobs))
    assert euros == jobs
    return int(repeats)


def test_a_worker_that_is_killed_at_any_moment_books_each_job_once(tmp_path: Path) -> None:
    assert kill_workers(tmp_path, kills=30, seed=1) >= 1


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2, 12))
def test_workers_that_are_killed_again_and_again_book_each_job_once(
    tmp_path: Path, seed: int
) -> None:
    assert kill_workers(tmp_path, kills=400, seed=seed) >= 1
