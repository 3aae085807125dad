"""A node's record: what it says of itself, with a version that grows by one at each change.

A record travels whole when a link opens and as deltas afterwards. Interest (subscriptions and
groups) is part of it, so that a peer becomes known and its subscriptions become served in one
step. A delta names its version; the receiver applies it only onto the version before.

What comes from outside is checked field by field; anything wrong is a ``BadFrame``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from mesh.wire.frames import BadFrame
from patterns.errors import BadName, ConfigError
from patterns.names import check_name, check_pattern, group_of

__all__ = ["MAX_RECORD_BYTES", "OwnRecord", "Record", "check_tags"]

MAX_RECORD_BYTES = 240 * 1024
"""A packed record must fit one frame of the link with its header; about 9,000 subscriptions."""

MAX_TAGS = 64
MAX_TEXT = 255
"""Characters in a tag or an address: they are labels, shown in tables."""


class Record:
    """A peer's record as this node holds it."""

    __slots__ = ("addresses", "id", "interest", "is_observer", "name", "rpc_port", "services",
                 "size", "tags", "version")  # fmt: skip

    id: bytes
    name: str
    version: int
    services: dict[str, tuple[str, ...]]
    interest: dict[str, None]
    tags: dict[str, str]
    addresses: tuple[str, ...]
    rpc_port: int
    is_observer: bool
    size: int
    """Bytes that its interest takes in a frame, about."""

    @classmethod
    def from_wire(cls, id: bytes, fields: object) -> Record:
        """Read a whole record. Raises BadFrame; unknown fields are ignored (newer peers)."""
        if not isinstance(fields, dict):
            raise BadFrame("a record must be a map")
        record = cls()
        record.id = id
        record.name = _name(fields.get("name"))
        record.version = _count(fields.get("version"), "version")
        record.services = _services(fields.get("services"))
        record.interest = dict.fromkeys(_patterns(fields.get("interest")))
        record.size = _size_of(record.interest)
        record.tags = _tags(fields.get("tags"))
        record.addresses = tuple(_text(a, "address") for a in _list(fields.get("addresses")))
        record.rpc_port = _count(fields.get("rpc"), "rpc port")
        if not 0 < record.rpc_port < 65536:
            raise BadFrame(f"rpc port {record.rpc_port} is no port")
        record.is_observer = fields.get("observer") is True
        return record

    def apply(self, delta: object) -> tuple[list[str], list[str]]:
        """Apply a delta; returns the patterns that were added and removed.

        Raises BadFrame when it is malformed or does not follow this version; the record is then
        unchanged, and the sender must send it whole.
        """
        if not isinstance(delta, dict):
            raise BadFrame("a record delta must be a map")
        version = _count(delta.get("version"), "version")
        if version != self.version + 1:
            raise BadFrame(f"delta to version {version} does not follow version {self.version}")
        services = _services(delta["services"]) if "services" in delta else self.services
        wanted = dict.fromkeys(_patterns(delta.get("add", [])))
        unwanted = dict.fromkeys(_patterns(delta.get("remove", [])))
        added = [p for p in wanted if p not in self.interest]
        removed = [p for p in unwanted if p in self.interest]
        size = self.size + _size_of(added) - _size_of(removed)
        if size > MAX_RECORD_BYTES:
            raise BadFrame(f"patterns of {size} bytes; a node may want {MAX_RECORD_BYTES}")
        self.size = size
        self.services = services
        for pattern in removed:
            del self.interest[pattern]
        self.interest.update(dict.fromkeys(added))
        self.version = version
        return added, removed

    @property
    def groups(self) -> frozenset[str]:
        """The groups it is in."""
        return frozenset(g for p in self.interest if (g := group_of(p)) is not None)


class OwnRecord:
    """This node's own record: changed here, packed for others.

    Changes collect until ``take_delta``, so that many in one turn travel as one version.
    ``pack`` measures; it is the codec's.
    """

    def __init__(
        self,
        id: bytes,
        name: str,
        *,
        tags: Mapping[str, str],
        is_observer: bool,
        addresses: Iterable[str] = (),
        rpc_port: int = 0,
    ) -> None:
        self.id = id
        self.name = name
        self.tags = check_tags(tags)
        self.is_observer = is_observer
        self.addresses = tuple(addresses)
        self.rpc_port = rpc_port
        self.version = 1
        self.changes = 0
        """Grows with every change, told to others or not."""
        self.services: dict[str, tuple[str, ...]] = {} if is_observer else {name: ()}
        self._interest: dict[str, None] = {}
        self._added: dict[str, None] = {}
        self._removed: dict[str, None] = {}
        self._services_changed = False
        self._size = 512 + sum(len(k) + len(v) + 8 for k, v in self.tags.items())

    def want(self, pattern: str) -> None:
        """Add a pattern. Raises ConfigError when the record would not fit a frame any more."""
        self._grow(len(pattern.encode()) + 3)
        self._interest[pattern] = None
        self._removed.pop(pattern, None)
        self._added[pattern] = None

    def unwant(self, pattern: str) -> None:
        self._size -= len(pattern.encode()) + 3
        self.changes += 1
        self._interest.pop(pattern, None)
        self._added.pop(pattern, None)
        self._removed[pattern] = None

    def serve(self, service: str, method: str) -> None:
        """Add a method. Raises ConfigError when the record would not fit a frame any more."""
        self._grow(len(service) + len(method) + 6)
        self.services[service] = (*self.services.get(service, ()), method)
        self._services_changed = True

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
        return bool(self._added or self._removed or self._services_changed)

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
            delta["services"] = {name: list(methods) for name, methods in self.services.items()}
        self._added.clear()
        self._removed.clear()
        self._services_changed = False
        return delta

    def to_wire(self) -> dict[str, Any]:
        """The whole record; call ``take_delta`` first, so that no change goes twice."""
        return {
            "name": self.name,
            "version": self.version,
            "services": {name: list(methods) for name, methods in self.services.items()},
            "interest": list(self._interest),
            "tags": self.tags,
            "addresses": list(self.addresses),
            "rpc": self.rpc_port,
            "observer": self.is_observer,
        }


def check_tags(tags: object) -> dict[str, str]:
    """A user's tags as they may travel. Raises ConfigError."""
    if tags is None:
        return {}
    if not isinstance(tags, Mapping) or len(tags) > MAX_TAGS:
        raise ConfigError(f"tags must be a dict of at most {MAX_TAGS} texts")
    for text in (*tags.keys(), *tags.values()):
        is_text = isinstance(text, str) and len(text) <= MAX_TEXT
        if not is_text or text != text.encode("utf-8", "replace").decode():
            raise ConfigError(f"tag {text!r:.40} is no text of up to {MAX_TEXT} characters")
    return dict(tags)


def _size_of(patterns: Iterable[str]) -> int:
    return sum(len(pattern) + 3 for pattern in patterns)


def _name(value: object) -> str:
    try:
        return check_name("node", value)
    except BadName as error:
        raise BadFrame(str(error)) from None


def _count(value: object, what: str) -> int:
    if type(value) is not int or value < 0:
        raise BadFrame(f"{what} must be a whole number, not {value!r:.40}")
    return value


def _text(value: object, what: str) -> str:
    if not isinstance(value, str) or len(value) > MAX_TEXT:
        raise BadFrame(f"{what} must be a text of up to {MAX_TEXT} characters")
    return value


def _list(value: object) -> list[Any]:
    if not isinstance(value, list):
        raise BadFrame("a list is needed")
    return value


def _patterns(value: object) -> list[str]:
    patterns = _list(value)
    for pattern in patterns:
        if not isinstance(pattern, str) or group_of(pattern) is None:
            try:
                check_pattern(pattern)
            except BadName as error:
                raise BadFrame(str(error)) from None
    return patterns


def _services(value: object) -> dict[str, tuple[str, ...]]:
    if not isinstance(value, dict):
        raise BadFrame("services must be a map")
    return {_name(name): tuple(_name(m) for m in _list(ms)) for name, ms in value.items()}


def _tags(value: object) -> dict[str, str]:
    if not isinstance(value, dict) or len(value) > MAX_TAGS:
        raise BadFrame(f"tags must be a map of up to {MAX_TAGS}")
    return {_text(k, "tag"): _text(v, "tag") for k, v in value.items()}
