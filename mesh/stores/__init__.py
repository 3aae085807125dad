"""Where queues keep their jobs: in memory, or in a file that survives.

What is in a file is imported, and ``sqlite3`` with it, when it is first asked for.
"""

from typing import TYPE_CHECKING, Any

from mesh.stores.memory import MemoryStore

if TYPE_CHECKING:
    from mesh.stores.sqlite import SqliteStore

__all__ = ["MemoryStore", "SqliteStore"]


def __getattr__(name: str) -> Any:
    if name != "SqliteStore":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from mesh.stores.sqlite import SqliteStore

    return SqliteStore
