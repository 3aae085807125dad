"""Where queues keep their jobs, in memory or in a file; which messages have had their effect."""

from mesh.stores.inbox import Inbox
from mesh.stores.memory import MemoryStore
from mesh.stores.sqlite import SqliteStore

__all__ = ["Inbox", "MemoryStore", "SqliteStore"]
