"""Which values are registered for a subject: a trie of patterns, with a bounded cache in front.

The NATS rules hold: ``*`` matches exactly one token, ``>`` one or more at the end. A subject
below ``_mesh`` is matched by its own literal text only, never by a wildcard: a subscriber of
``>`` must not receive what was sent to groups.

Matching costs one dict look-up for a subject seen since the last change. Results are in the order
of registration and never in that of a set, so that runs can be repeated. Patterns are taken as
they are; whoever takes one from a user or a peer checks it first (`patterns.names`).

Patterns are sets of subjects, and what they have in common is one again. ``covers``, ``is_covered``
and ``intersection`` are exact: tokens are of endlessly many kinds, so what holds for a token that
nobody has named holds for a wildcard.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Generic, TypeVar

from patterns.names import MAX_SUBJECT_TOKENS, RESERVED_TOKEN

__all__ = [
    "MATCH_CACHE_SUBJECTS",
    "UNNAMED",
    "SubjectMap",
    "covers",
    "intersection",
    "is_covered",
]

T = TypeVar("T")

MATCH_CACHE_SUBJECTS = 4096
"""Subjects whose matches are remembered. When full it is emptied: that costs nothing per look-up,
and the subjects in use are back after one search each."""

UNNAMED = ""
"""Stands for a token that no pattern names: only wildcards match it."""


class _Node(Generic[T]):
    """One token position. `exact` are the values of the pattern that ends here, `rest` those of
    the pattern that goes on with ``>``; both map a value to its registration number."""

    __slots__ = ("children", "exact", "rest")

    def __init__(self) -> None:
        self.children: dict[str, _Node[T]] = {}
        self.exact: dict[T, int] = {}
        self.rest: dict[T, int] = {}

    def is_empty(self) -> bool:
        return not (self.children or self.exact or self.rest)


class SubjectMap(Generic[T]):
    """Sets of hashable values, by pattern. `len()` counts (pattern, value) pairs."""

    __slots__ = ("_cache", "_patterns", "_registrations", "_root", "_size")

    def __init__(self) -> None:
        self._root: _Node[T] = _Node()
        self._cache: dict[str, tuple[T, ...]] = {}
        self._patterns: dict[str, int] = {}  # pattern -> how many values it has
        self._registrations = 0
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def add(self, pattern: str, value: T) -> bool:
        """Register `value` for `pattern`. Returns False, and changes nothing, if it already is."""
        tokens, is_rest = _parse(pattern)
        node = self._root
        for token in tokens:
            node = node.children.setdefault(token, _Node())
        values = node.rest if is_rest else node.exact
        if value in values:
            return False
        self._registrations += 1
        values[value] = self._registrations
        self._patterns[pattern] = self._patterns.get(pattern, 0) + 1
        self._size += 1
        self._cache.clear()
        return True

    def remove(self, pattern: str, value: T) -> bool:
        """Undo one `add`. Returns False, and changes nothing, if there was none."""
        tokens, is_rest = _parse(pattern)
        path = [self._root]
        for token in tokens:
            child = path[-1].children.get(token)
            if child is None:
                return False
            path.append(child)
        values = path[-1].rest if is_rest else path[-1].exact
        if values.pop(value, None) is None:
            return False
        while tokens and path[-1].is_empty():
            path.pop()
            del path[-1].children[tokens.pop()]
        self._patterns[pattern] -= 1
        if not self._patterns[pattern]:
            del self._patterns[pattern]
        self._size -= 1
        self._cache.clear()
        return True

    def match(self, subject: str) -> tuple[T, ...]:
        """The values of all patterns that match `subject`: each once, in the order in which the
        first of its matching patterns was registered."""
        found = self._cache.get(subject)
        return found if found is not None else self._search(subject)

    def patterns(self) -> list[str]:
        """The patterns that have a value, in the order of their registration."""
        return list(self._patterns)

    def _search(self, subject: str) -> tuple[T, ...]:
        tokens = subject.split(".")
        hits: list[tuple[int, T]] = []
        nodes = [self._root]
        has_wildcards = tokens[0] != RESERVED_TOKEN
        for token in tokens:
            onward = []
            for node in nodes:
                if has_wildcards:
                    hits.extend((number, value) for value, number in node.rest.items())
                child = node.children.get(token)
                if child is not None:
                    onward.append(child)
                if has_wildcards and token != "*":  # noqa: S105  of a subject
                    child = node.children.get("*")
                    if child is not None:
                        onward.append(child)
            nodes = onward
        for node in nodes:
            hits.extend((number, value) for value, number in node.exact.items())
        hits.sort(key=_registration_number)
        found = tuple(dict.fromkeys(value for _, value in hits))
        if len(self._cache) >= MATCH_CACHE_SUBJECTS:
            self._cache.clear()
        self._cache[subject] = found
        return found


def covers(allowed: str, pattern: str) -> bool:
    """Whether ``allowed`` matches every subject that ``pattern`` matches."""
    return is_covered(pattern, (allowed,))


def is_covered(pattern: str, by: Iterable[str]) -> bool:
    """Whether every subject that ``pattern`` matches is matched by one of the patterns ``by``."""
    tokens, is_rest = _parse(pattern)
    if tokens[:1] == [RESERVED_TOKEN]:
        return pattern in by
    parsed = [_parse(other) for other in by]
    subject = [UNNAMED if part == "*" else part for part in tokens]
    if not is_rest:
        return any(_takes(*other, subject) for other in parsed)
    # Subjects longer than all of them are all alike.
    longest = max((len(other) for other, _ in parsed), default=0)
    for _ in range(len(tokens), min(max(len(tokens), longest) + 1, MAX_SUBJECT_TOKENS)):
        subject.append(UNNAMED)
        if not any(_takes(*other, subject) for other in parsed):
            return False
    return True


def intersection(one: str, other: str) -> str | None:
    """The pattern of the subjects that both match; None when there are none."""
    (short, is_open), (long, has_rest) = sorted((_parse(one), _parse(other)), key=_length)
    if RESERVED_TOKEN in (short[:1] + long[:1]):
        return one if one == other else None
    if len(short) == len(long):
        if is_open is not has_rest:
            return None
    elif not is_open:
        return None
    tokens = long[:]
    for index, token in enumerate(short):
        if tokens[index] == "*":
            tokens[index] = token
        elif token not in ("*", tokens[index]):
            return None
    return ".".join([*tokens, ">"] if has_rest else tokens)


def _takes(tokens: Sequence[str], is_rest: bool, subject: Sequence[str]) -> bool:
    """Whether a parsed pattern matches a subject's tokens."""
    count = len(tokens)
    if len(subject) <= count if is_rest else len(subject) != count:
        return False
    return all(want in ("*", token) for want, token in zip(tokens, subject, strict=False))


def _length(parsed: tuple[list[str], bool]) -> int:
    return len(parsed[0])


def _parse(pattern: str) -> tuple[list[str], bool]:
    """The tokens before a closing ``>``, and whether there is one."""
    tokens = pattern.split(".")
    is_rest = tokens[-1] == ">"
    if is_rest:
        tokens.pop()
    return tokens, is_rest


def _registration_number(hit: tuple[int, object]) -> int:
    return hit[0]
