"""Stores of the mesh, as ``Bench`` wants a store: it says when they work, and for how long."""

from __future__ import annotations

import queue
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mesh.stores.memory import MemoryStore
from mesh.stores.sqlite import SqliteStore

__all__ = ["MemoryDesk", "SqliteDesk"]

PATIENCE = 20.0


class MemoryDesk:
    """A store in memory, which does what it was asked for when it is told to."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self._soon: deque[Callable[[], None]] = deque()
        store.open()
        store.start(self._soon.append, lambda _, function: self._soon.append(function), 0)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "last_number":
            self._store.last_number = value
        else:
            object.__setattr__(self, name, value)

    @property
    def is_idle(self) -> bool:
        return not self._soon

    def commit(self) -> None:
        self._soon.popleft()()


class SqliteDesk:
    """A store in a file; ``commit`` waits for it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._soon: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._store = SqliteStore(path)
        self._store.open()
        self._store.start(self._soon.put, lambda _, function: self._soon.put(function), 1_000)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "last_number":
            self._store.last_number = value
        else:
            object.__setattr__(self, name, value)

    @property
    def is_idle(self) -> bool:
        store = self._store
        return self._soon.empty() and not (store._is_due or store._is_writing)

    def commit(self) -> None:
        self._soon.get(timeout=PATIENCE)()

    def open(self) -> list[tuple[str, str]]:
        return list(self._store._lines)

    def after_power_loss(self) -> SqliteDesk:
        assert self._store.close()
        end = time.monotonic() + PATIENCE
        while not self.is_idle:
            assert time.monotonic() < end
            self.commit()
        return SqliteDesk(self._path)
