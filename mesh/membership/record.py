"""A node's record: what it says of itself, with a version that grows by one at each change.

A record travels whole when a link opens and as deltas afterwards. Interest (subscriptions, groups
and queue groups) is part of it, so that a peer becomes known and its subscriptions become served
in one step. A delta names its version; the receiver applies it only onto the version before.

What comes from outside is checked field by field; anything wrong is a ``BadFrame``.
"""

from __future__ import annotations

import reprlib
from collections.abc import Iterable, Mapping
from typing import Any

from mesh.wire.frames import BadFrame
from patterns.errors import BadName, ConfigError
from patterns.names import RESERVED_TOKEN, check_name, check_pattern, group_of

__all__ = [
    "MAX_OWNED",
    "MAX_RECORD_BYTES",
    "MAX_WEIGHT",
    "Record",
    "check_instance",
    "check_tags",
    "check_weight",
    "size_of",
]

MAX_RECORD_BYTES = 240 * 1024
"""A packed record must fit one frame of the link with its header; about 9,000 subscriptions."""

MAX_TAGS = 64
MAX_ADDRESSES = 64
"""Addresses of one node that are kept; nobody dials more than a few of them."""
MAX_OWNED = 32
"""Services of one node whose ownership is handed over with care; each singleton is one. The ring of
each is looked at whenever anybody comes or goes, so all must be among those that are kept."""
MAX_TEXT = 255
"""Characters in a tag, an address or an instance: they are labels, shown in tables."""

MAX_WEIGHT = 1e6
"""Times the share of a member of weight 1: more than any real difference between machines, and
far from where a score would overflow."""


class Record:
    """A peer's record as this node holds it."""

    __slots__ = ("_groups", "addresses", "blocks", "id", "instance", "interest", "is_observer",
                 "name", "owns", "queues", "rpc_port", "services", "size", "tags", "version",
                 "weight", "work_port")  # fmt: skip

    id: bytes
    name: str
    version: int
    services: dict[str, tuple[str, ...]]
    interest: dict[str, None]
    queues: dict[str, tuple[str, ...]]
    """The patterns it shares with others, by queue group; replaced as a whole by a change."""
    tags: dict[str, str]
    instance: str
    """Its name in the ring, the same after a restart if its owner says so; else its id."""
    weight: float
    """Its share of the keys and of the work, relative to others'."""
    addresses: tuple[str, ...]
    rpc_port: int
    work_port: int
    is_observer: bool
    blocks: bool
    """Whether it has a subscription that blocks."""
    owns: dict[str, bool]
    """Services whose ownership it hands over with care; whether it has ever worked on keys."""
    size: int
    """Bytes that its interest and its queue groups take in a frame, about."""
    _groups: frozenset[str] | None

    @classmethod
    def from_wire(cls, id: bytes, fields: object) -> Record:
        """Read a whole record. Raises BadFrame; unknown fields are ignored (newer peers)."""
        if not isinstance(fields, dict):
            raise BadFrame("a record must be a map")
        record = cls()
        record.id = id
        record._groups = None
        record.name = _name(fields.get("name"))
        record.version = _count(fields.get("version"), "version")
        record.services = _services(fields.get("services"))
        record.interest = dict.fromkeys(_patterns(fields.get("interest")))
        record.queues = _queues(fields.get("queues", {}))
        record.size = size_of(record.interest) + size_of_queues(record.queues)
        record.tags = _tags(fields.get("tags"))
        record.instance = _instance(fields.get("instance", id.hex()))
        record.weight = _weight(fields.get("weight", 1.0))
        record.addresses = _addresses(fields.get("addresses"))
        record.rpc_port = _port(fields.get("rpc"), "rpc port")
        record.work_port = _port(fields.get("work"), "work port")
        record.is_observer = fields.get("observer") is True
        record.blocks = fields.get("blocks") is True
        record.owns = _owns(fields.get("owns", {}))
        return record

    def apply(self, delta: object) -> tuple[list[str], list[str]]:
        """Apply a delta; returns the patterns of plain interest that were added and removed.

        Services and queue groups come whole: compare them with what they were before. Raises
        BadFrame when it is malformed or does not follow this version; the record is then
        unchanged, and the sender must send it whole.
        """
        if not isinstance(delta, dict):
            raise BadFrame("a record delta must be a map")
        version = _count(delta.get("version"), "version")
        if version != self.version + 1:
            raise BadFrame(f"delta to version {version} does not follow version {self.version}")
        services = _services(delta["services"]) if "services" in delta else self.services
        queues = _queues(delta["queues"]) if "queues" in delta else self.queues
        addresses = self.addresses
        if "addresses" in delta:
            addresses = _addresses(delta["addresses"])
        owns = _owns(delta["owns"]) if "owns" in delta else self.owns
        wanted = dict.fromkeys(_patterns(delta.get("add", [])))
        unwanted = dict.fromkeys(_patterns(delta.get("remove", [])))
        added = [p for p in wanted if p not in self.interest]
        removed = [p for p in unwanted if p in self.interest]
        size = self.size + size_of(added) - size_of(removed)
        if queues is not self.queues:
            size += size_of_queues(queues) - size_of_queues(self.queues)
        if size > MAX_RECORD_BYTES:
            raise BadFrame(f"patterns of {size} bytes; a node may want {MAX_RECORD_BYTES}")
        self.size = size
        self.services = services
        self.queues = queues
        self.addresses = addresses
        self.owns = owns
        if "blocks" in delta:
            self.blocks = delta["blocks"] is True
        if any(group_of(pattern) is not None for pattern in (*added, *removed)):
            self._groups = None
        for pattern in removed:
            del self.interest[pattern]
        self.interest.update(dict.fromkeys(added))
        self.version = version
        return added, removed

    def refuse(self, pattern: str) -> None:
        """Take it as if the peer did not want that pattern."""
        del self.interest[pattern]
        self.size -= size_of((pattern,))

    def keep_queues(self, queues: dict[str, tuple[str, ...]]) -> None:
        """Take it as if the peer shared no other patterns than these."""
        self.size += size_of_queues(queues) - size_of_queues(self.queues)
        self.queues = queues

    @property
    def groups(self) -> frozenset[str]:
        """The groups it is in."""
        if self._groups is None:
            self._groups = frozenset(g for p in self.interest if (g := group_of(p)) is not None)
        return self._groups

    def wants(self, pattern: str) -> bool:
        """Whether the pattern is one of its plain interest."""
        return pattern in self.interest


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


def check_instance(instance: object) -> str:
    """A user's name for a place in the ring. Raises ConfigError."""
    try:
        return _as_instance(instance)
    except ValueError as error:
        raise ConfigError(f"instance: {error}") from None


def check_weight(weight: object) -> float:
    """A user's share, relative to other nodes'. Raises ConfigError."""
    try:
        return _as_weight(weight)
    except ValueError as error:
        raise ConfigError(f"weight: {error}") from None


def _as_instance(value: object) -> str:
    if not isinstance(value, str) or not 1 <= len(value) <= MAX_TEXT:
        raise ValueError(f"give a text of 1 to {MAX_TEXT} characters")
    try:
        return value.encode().decode()
    except UnicodeEncodeError:
        raise ValueError("it holds a lone surrogate, which UTF-8 cannot carry") from None


def _as_weight(value: object) -> float:
    # Compared before it is made a float: a huge integer would not convert. NaN is no share.
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= MAX_WEIGHT:
        return float(value)
    raise ValueError(f"give a number above 0, at most {MAX_WEIGHT:.0f}")


def size_of(patterns: Iterable[str]) -> int:
    """Bytes that names or patterns take in a frame, at most."""
    return sum(len(pattern.encode()) + 3 for pattern in patterns)


def size_of_queues(queues: Mapping[str, Iterable[str]]) -> int:
    return size_of(queues) + sum(map(size_of, queues.values()))


def _name(value: object) -> str:
    try:
        return check_name("node", value)
    except BadName as error:
        raise BadFrame(str(error)) from None


def _count(value: object, what: str) -> int:
    if type(value) is not int or value < 0:
        raise BadFrame(f"{what} must be a whole number, not {reprlib.repr(value)}")
    return value


def _port(value: object, what: str) -> int:
    port = _count(value, what)
    if not 0 < port < 65536:
        raise BadFrame(f"{what} {port} is no port")
    return port


def _instance(value: object) -> str:
    try:
        return _as_instance(value)
    except ValueError as error:
        raise BadFrame(f"instance {reprlib.repr(value)}: {error}") from None


def _weight(value: object) -> float:
    try:
        return _as_weight(value)
    except ValueError as error:
        raise BadFrame(f"weight {reprlib.repr(value)}: {error}") from None


def _text(value: object, what: str) -> str:
    if not isinstance(value, str) or len(value) > MAX_TEXT:
        raise BadFrame(f"{what} must be a text of up to {MAX_TEXT} characters")
    return value


def _addresses(value: object) -> tuple[str, ...]:
    return tuple(_text(address, "address") for address in _list(value)[:MAX_ADDRESSES])


def _list(value: object) -> list[Any]:
    if not isinstance(value, list):
        raise BadFrame("a list is needed")
    return value


def _patterns(value: object) -> list[str]:
    patterns = _list(value)
    for pattern in patterns:
        if not isinstance(pattern, str) or group_of(pattern) is None:
            _pattern(pattern)
    return patterns


def _pattern(value: object) -> str:
    try:
        return check_pattern(value)
    except BadName as error:
        raise BadFrame(str(error)) from None


def _queues(value: object) -> dict[str, tuple[str, ...]]:
    """Queue groups; a pattern that is there twice counts once."""
    if not isinstance(value, dict):
        raise BadFrame("queues must be a map")
    return {_name(g): tuple(dict.fromkeys(map(_pattern, _list(ps)))) for g, ps in value.items()}


def _services(value: object) -> dict[str, tuple[str, ...]]:
    if not isinstance(value, dict):
        raise BadFrame("services must be a map")
    if RESERVED_TOKEN in value:
        raise BadFrame(f"the service {RESERVED_TOKEN!r} is every node's, and in no record")
    return {_name(name): tuple(_name(m) for m in _list(ms)) for name, ms in value.items()}


def _owns(value: object) -> dict[str, bool]:
    if not isinstance(value, dict) or len(value) > MAX_OWNED:
        raise BadFrame(f"owns must be a map of up to {MAX_OWNED}")
    return {_name(name): holds is True for name, holds in value.items()}


def _tags(value: object) -> dict[str, str]:
    if not isinstance(value, dict) or len(value) > MAX_TAGS:
        raise BadFrame(f"tags must be a map of up to {MAX_TAGS}")
    return {_text(k, "tag"): _text(v, "tag") for k, v in value.items()}
