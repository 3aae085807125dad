"""This node's own record: changed here, packed for others.

The node is its only writer. Changes collect until they are taken as a delta, so that many in one
turn travel as one version. The record is bounded as a whole, because it must fit one frame: what
would exceed it is refused to whoever asks for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from mesh.membership.record import (
    MAX_RECORD_BYTES,
    check_instance,
    check_tags,
    check_weight,
    size_of,
)
from patterns.errors import ConfigError
from patterns.names import group_of

__all__ = ["OwnRecord"]


class OwnRecord:
    """The record and what of it others have not been told yet: ``take_delta`` gives that."""

    def __init__(
        self,
        id: bytes,
        name: str,
        *,
        tags: Mapping[str, str],
        is_observer: bool,
        instance: str,
        weight: float,
        addresses: Iterable[str] = (),
        rpc_port: int = 0,
        work_port: int = 0,
    ) -> None:
        """Raises ConfigError for tags, instance or weight that may not travel."""
        self.id = id
        self.name = name
        self.tags = check_tags(tags)
        self.is_observer = is_observer
        self.instance = check_instance(instance)
        self.weight = check_weight(weight)
        self.addresses = tuple(addresses)
        self.rpc_port = rpc_port
        self.work_port = work_port
        self.version = 1
        self.changes = 0
        """Grows with every change, told to others or not."""
        self.services: dict[str, tuple[str, ...]] = {} if is_observer else {name: ()}
        self.queues: dict[str, tuple[str, ...]] = {}
        self.owns: dict[str, bool] = {}
        """Services whose ownership it hands over with care; whether it has ever worked on keys."""
        self.blocks = False
        """Whether it has a subscription that blocks."""
        self._interest: dict[str, None] = {}
        self._added: dict[str, None] = {}
        self._removed: dict[str, None] = {}
        self._services_changed = False
        self._queues_changed = False
        self._addresses_changed = False
        self._blocks_changed = self._owns_changed = False
        self._size = 512 + len(self.instance.encode())
        self._size += sum(len((k + v).encode()) + 8 for k, v in self.tags.items())

    def readdress(self, addresses: Iterable[str]) -> None:
        """It can be dialled elsewhere now."""
        self.addresses = tuple(addresses)
        self.changes += 1
        self._addresses_changed = True

    def block(self, is_blocking: bool) -> None:
        """It has a subscription that blocks now, or none any more."""
        self.blocks = is_blocking
        self.changes += 1
        self._blocks_changed = True

    def want(self, pattern: str) -> None:
        """Add a pattern. Raises ConfigError when the record would not fit a frame any more."""
        self._grow(len(pattern.encode()) + 3)
        self._interest[pattern] = None
        self._removed.pop(pattern, None)
        self._added[pattern] = None

    def unwant(self, pattern: str) -> None:
        """Take a pattern out; one that is not there is no change."""
        if pattern not in self._interest:
            return
        self._size -= len(pattern.encode()) + 3
        self.changes += 1
        del self._interest[pattern]
        self._added.pop(pattern, None)
        self._removed[pattern] = None

    def wants(self, pattern: str) -> bool:
        """Whether the pattern is one of its plain interest."""
        return pattern in self._interest

    def want_queue(self, group: str, pattern: str) -> None:
        """Share a pattern within a queue group; one that is shared already is no change.

        Raises ConfigError when the record would not fit a frame any more.
        """
        patterns = self.queues.get(group, ())
        if pattern in patterns:
            return
        self._grow(size_of((pattern,)) + (0 if patterns else size_of((group,))))
        self.queues[group] = (*patterns, pattern)
        self._queues_changed = True

    def unwant_queue(self, group: str, pattern: str) -> None:
        """Share it no more; without its last pattern the queue group is gone."""
        patterns = self.queues.get(group, ())
        if pattern not in patterns:
            return
        left = tuple(other for other in patterns if other != pattern)
        self._size -= size_of((pattern,)) + (0 if left else size_of((group,)))
        self.changes += 1
        if left:
            self.queues[group] = left
        else:
            del self.queues[group]
        self._queues_changed = True

    def serve(self, service: str, method: str) -> None:
        """Add a method. Raises ConfigError when the record would not fit a frame any more."""
        self._grow(len(service) + len(method) + 6)
        self.services[service] = (*self.services.get(service, ()), method)
        self._services_changed = True

    def provide(self, service: str) -> None:
        """Be a member of a service, with or without methods."""
        if service not in self.services:
            self._grow(len(service) + 6)
            self.services[service] = ()
            self._services_changed = True

    def own(self, service: str, holds: bool) -> None:
        """Hand over what it owns of the service with care; ``holds`` once it has worked on keys."""
        if service not in self.owns:
            self._grow(len(service) + 6)
        self.changes += 1
        self.owns[service] = holds
        self._owns_changed = True

    def withdraw_work(self) -> None:
        """Serve nothing and be in no group and no queue group any more."""
        for subject in [p for p in self._interest if group_of(p) is not None]:
            self.unwant(subject)
        for group, patterns in list(self.queues.items()):
            for pattern in patterns:
                self.unwant_queue(group, pattern)
        self.services = {}
        self._services_changed = True
        self.changes += 1

    def withdraw_interest(self) -> None:
        """Listen to nothing any more."""
        for pattern in list(self._interest):
            self.unwant(pattern)

    def _grow(self, size: int) -> None:
        if self._size + size > MAX_RECORD_BYTES:
            raise ConfigError(
                f"this node's subscriptions and methods take more than {MAX_RECORD_BYTES} bytes; "
                "subscribe to fewer patterns (a wildcard can stand for many)"
            )
        self._size += size
        self.changes += 1

    @property
    def has_changes(self) -> bool:
        has_interest = self._added or self._removed
        has_lists = self._services_changed or self._queues_changed or self._addresses_changed
        return bool(has_interest or has_lists or self._blocks_changed or self._owns_changed)

    @property
    def groups(self) -> frozenset[str]:
        return frozenset(g for p in self._interest if (g := group_of(p)) is not None)

    def take_delta(self) -> dict[str, Any] | None:
        """The changes since the last call as a delta of the next version; None without any."""
        if not self.has_changes:
            return None
        self.version += 1
        delta: dict[str, Any] = {"version": self.version}
        if self._added:
            delta["add"] = list(self._added)
        if self._removed:
            delta["remove"] = list(self._removed)
        if self._services_changed:
            delta["services"] = _lists(self.services)
        if self._queues_changed:
            delta["queues"] = _lists(self.queues)
        if self._addresses_changed:
            delta["addresses"] = list(self.addresses)
        if self._blocks_changed:
            delta["blocks"] = self.blocks
        if self._owns_changed:
            delta["owns"] = dict(self.owns)
        self._added.clear()
        self._removed.clear()
        self._services_changed = self._queues_changed = self._addresses_changed = False
        self._blocks_changed = self._owns_changed = False
        return delta

    def to_wire(self) -> dict[str, Any]:
        """The whole record; call ``take_delta`` first, so that no change goes twice."""
        fields = {
            "name": self.name,
            "version": self.version,
            "services": _lists(self.services),
            "interest": list(self._interest),
            "queues": _lists(self.queues),
            "tags": self.tags,
            "instance": self.instance,
            "weight": self.weight,
            "addresses": list(self.addresses),
            "rpc": self.rpc_port,
            "work": self.work_port,
            "observer": self.is_observer,
        }
        if self.blocks:
            fields["blocks"] = True
        if self.owns:
            fields["owns"] = dict(self.owns)
        return fields


def _lists(named: Mapping[str, Iterable[str]]) -> dict[str, list[str]]:
    return {name: list(values) for name, values in named.items()}
