"""Where queues keep their jobs: in memory, or in a file that survives."""

from mesh.stores.memory import MemoryStore
from mesh.stores.sqlite import SqliteStore

__all__ = ["MemoryStore", "SqliteStore"]
