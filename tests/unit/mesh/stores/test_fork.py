"""A store in a process that forks."""

from __future__ import annotations

import gc
import os
from pathlib import Path

from mesh.stores import SqliteStore
from patterns.queues.ticket import State, Ticket
from tests.unit.mesh.stores.desk import Desk, numbers, page, put


def test_the_end_of_a_forked_child_leaves_the_file_alone(tmp_path: Path) -> None:
    desk = Desk()
    store = SqliteStore(tmp_path / "jobs.db")
    store.open()
    store.start(desk.run, desk.run_later, 0)
    line = store.line("emails", "")
    put(desk, store, line, Ticket(1, b"", 0))
    wal = (tmp_path / "jobs.db-wal").stat()
    child = os.fork()
    if child == 0:
        del store.file.connection  # as the end of the interpreter does
        gc.collect()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    after = (tmp_path / "jobs.db-wal").stat()
    assert (after.st_ino, after.st_size) == (wal.st_ino, wal.st_size)
    put(desk, store, line, Ticket(2, b"", 0))
    assert numbers(page(desk, line, State.READY, None, 10)) == [1, 2]
    assert store.close()
