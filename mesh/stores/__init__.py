"""Where queues keep their jobs, in memory or in a file; which messages have had their effect.

What takes ``sqlite3`` is imported when it is first asked for.
"""

from typing import TYPE_CHECKING, Any

from mesh.stores.memory import MemoryStore

if TYPE_CHECKING:
    from mesh.stores.inbox import Inbox
    from mesh.stores.sqlite import SqliteStore

__all__ = ["Inbox", "MemoryStore", "SqliteStore"]


def __getattr__(name: str) -> Any:
    if name == "Inbox":
        from mesh.stores.inbox import Inbox

        return Inbox
    if name == "SqliteStore":
        from mesh.stores.sqlite import SqliteStore

        return SqliteStore
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
