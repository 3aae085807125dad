"""``Inbox``: a job that is handled twice has its effect on a database once.

Whoever handles a message can fail between its effect and the acknowledgement, so the message comes
again. An inbox writes the message's id in the same transaction as the effect: both are there, or
neither is. This is the receiver's half of Helland, "Life beyond Distributed Transactions", 2007
(an "activity" remembers what it has seen); it is also known as an idempotent receiver.

What it guarantees is about one SQLite database and nothing else. A mail that the handler sends, a
file, another database, a call to another service: all that happens as often as the handler runs.

Surprise: a savepoint is inside our own transaction, too. It is what tells that the user's code has
ended the transaction under us: then it cannot be released.
"""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
import time
from collections.abc import Iterator

from patterns.errors import BadName, ConfigError

__all__ = ["Inbox"]

KEEP = 7 * 24 * 3600.0
"""Seconds that an id is known: a job may lie among the dead over a weekend, and be kicked."""

FORGET_AT_ONCE = 4
"""Old ids that each new one drives out: more than one, so that the table shrinks."""

MAX_ID_BYTES = 255
"""Of an id, which is in the table and in its index."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")


class Inbox:
    """Remembers which messages have had their effect, beside that effect.

    ::

        inbox = mesh.Inbox("shop.db")

        @node.worker("orders")
        def handle(job):
            with contextlib.closing(sqlite3.connect("shop.db")) as connection:
                with inbox.once(connection, job.id) as is_first:
                    if is_first:
                        connection.execute("UPDATE stock SET n = n - 1 WHERE item = ?", (job.data,))

    Guaranteed: what is written through ``connection`` inside ``once`` is committed at most once for
    each id, and once ``once`` has returned without an error (in a transaction of its own) it is
    committed. So a job that is tried until it is done has its effect there exactly once, whatever
    fails: the handler, this process, the machine, the lease.

    Not guaranteed:

    * anything outside that database file;
    * anything after ``keep`` seconds, by the wall clock: keep ids for longer than a job can come
      again, with its retries, its time among the dead and until somebody kicks it;
    * what a power failure takes back, where the connection was told to commit without waiting for
      the disk (``PRAGMA synchronous`` below ``FULL`` with write-ahead logging);
    * two kinds of messages with the same id. Where ids of your own are not unique over all queues,
      or two groups of workers write to one database, give each a ``table`` of its own.

    Args:
        connection_or_path: where to make the table at once; without it, call ``prepare()``.
        table: its name, letters, digits and ``_``.
        keep: seconds after which an id is forgotten; each new id drives out a few old ones.

    Raises:
        BadName: ``table`` is no such name.
        ConfigError: ``keep`` is not above 0.
        sqlite3.Error: the database cannot be opened or written.
    """

    def __init__(
        self,
        connection_or_path: sqlite3.Connection | str | os.PathLike[str] | None = None,
        *,
        table: str = "mesh_inbox",
        keep: float = KEEP,
    ) -> None:
        if not _NAME.fullmatch(table):
            raise BadName(f"table {table!r}: a name of up to 63 letters, digits and '_' is needed")
        if not keep > 0:
            raise ConfigError(f"keep={keep!r}: ids are kept for some seconds, above 0")
        self.table = table
        self.keep = keep
        self._insert = (
            f"INSERT INTO {table} (id, at_ms) VALUES (?, ?) "  # noqa: S608  a checked name
            "ON CONFLICT (id) DO NOTHING"
        )
        # By number, which is the order in which they came: so no index of times is needed.
        self._forget = (
            f"DELETE FROM {table} WHERE at_ms < ? AND number IN "  # noqa: S608
            f"(SELECT number FROM {table} ORDER BY number LIMIT {FORGET_AT_ONCE})"
        )
        self._open: set[int] = set()
        """The ids of the connections that are inside ``once``."""
        if isinstance(connection_or_path, sqlite3.Connection):
            self.prepare(connection_or_path)
        elif connection_or_path is not None:
            with contextlib.closing(sqlite3.connect(connection_or_path)) as connection:
                self.prepare(connection)
                connection.commit()

    def prepare(self, connection: sqlite3.Connection) -> None:
        """Make the table, if there is none. Inside a transaction of yours it is part of that."""
        connection.execute(
            f"CREATE TABLE IF NOT EXISTS {self.table} "
            "(number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, at_ms INTEGER NOT NULL)"
        )

    @contextlib.contextmanager
    def once(self, connection: sqlite3.Connection, message_id: str) -> Iterator[bool]:
        """The transaction of a message's effect; gives whether it is the first with that id.

        Where no transaction is open, one is begun (``BEGIN IMMEDIATE``), and committed at the end.
        Where you have begun one, or the connection has ``autocommit=False`` (from Python 3.12 on),
        which always has one open, this is a savepoint in it: **you commit**, and before you
        acknowledge. In both, an exception takes back what was done inside, and goes on.

        Meanwhile others that write to the database wait, as for any transaction; so nothing slow,
        and no ``await``, belongs inside. ``commit()`` and ``executescript()`` do not either: they
        would end the transaction halfway.

        Args:
            connection: any of ``sqlite3``, in whatever mode, used by one thread at a time.
            message_id: such as ``job.id``: 1 to 255 bytes.

        Raises:
            BadName: the id is no such text. Nothing was done.
            ConfigError: the connection is inside ``once`` already, as another task uses it, or the
                transaction was ended inside: part of the effect may be committed, with the id.
            sqlite3.Error: as from any statement; nothing was done. *Database is locked* means that
                another has been writing for longer than the ``timeout`` of ``sqlite3.connect()``.
        """
        if not isinstance(message_id, str) or not 0 < len(message_id.encode()) <= MAX_ID_BYTES:
            raise BadName(f"id {message_id!r}: a text of 1 to {MAX_ID_BYTES} bytes is needed")
        key = id(connection)
        if key in self._open:
            raise ConfigError(
                "this connection is inside once() already: one connection is one transaction, so "
                "open one for each task or thread, and do not await inside once()"
            )
        self._open.add(key)
        try:
            with _transaction(connection):
                yield self._is_first(connection, message_id)
        finally:
            self._open.discard(key)

    def _is_first(self, connection: sqlite3.Connection, message_id: str) -> bool:
        now_ms = int(time.time() * 1000)
        if connection.execute(self._insert, (message_id, now_ms)).rowcount != 1:
            return False
        connection.execute(self._forget, (now_ms - int(self.keep * 1000),))
        return True


@contextlib.contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """All or nothing: of its own where none is open, else a part of the one that is."""
    # By statements: what commit() does depends on the connection's mode.
    is_own = not connection.in_transaction
    if is_own:
        connection.execute("BEGIN IMMEDIATE")
    try:
        connection.execute("SAVEPOINT mesh_inbox")
        try:
            yield
            _release(connection)
        except BaseException:
            _undo(connection)
            raise
        if is_own:
            connection.execute("COMMIT")
    except BaseException:
        if is_own and connection.in_transaction:  # a full disk may have ended it
            connection.execute("ROLLBACK")
        raise


def _release(connection: sqlite3.Connection) -> None:
    try:
        connection.execute("RELEASE mesh_inbox")
    except sqlite3.OperationalError as error:
        raise ConfigError(
            "the transaction was ended inside once(), by commit(), rollback(), executescript() or "
            f"'with connection:': let once() end it ({error})"
        ) from error


def _undo(connection: sqlite3.Connection) -> None:
    """Take back what was done since the savepoint, which may be gone with its transaction."""
    with contextlib.suppress(sqlite3.OperationalError):
        connection.execute("ROLLBACK TO mesh_inbox")
        connection.execute("RELEASE mesh_inbox")
