"""Names and subjects: what is allowed, checked where the user hands it in.

Names (of nodes, services, methods, groups, queue groups) are ``[A-Za-z0-9_-]{1,64}``.
Subjects and patterns follow the NATS rules: tokens joined by dots, ``*`` stands for exactly one
token, ``>`` for one or more at the end, so ``a.>`` does not match ``a``. Two rules are stricter
than a NATS server's: ``*`` and ``>`` never appear inside a longer token, and the first token
``_mesh`` is reserved, because groups are subjects below it.

Surprise: the length limit counts UTF-8 bytes, not characters, since that is what travels.
"""

from __future__ import annotations

import re
from functools import lru_cache

from patterns.errors import BadName

__all__ = [
    "EVERYONE",
    "MAX_NAME_CHARS",
    "MAX_SUBJECT_BYTES",
    "MAX_SUBJECT_TOKENS",
    "RESERVED_TOKEN",
    "check_name",
    "check_pattern",
    "check_subject",
    "group_of",
    "group_subject",
    "is_reserved_method",
    "queue_of",
    "queue_pool",
    "split_method",
]

MAX_NAME_CHARS = 64
"""Names are repeated in every record, table and log line; longer ones belong into tags."""

MAX_SUBJECT_BYTES = 255
"""UTF-8 bytes of a subject or pattern: it travels with every message, so it must stay small."""

MAX_SUBJECT_TOKENS = 32
"""Bounds the depth of the interest trie, whatever a peer subscribes to."""

CHECKED_SUBJECTS = 4096
"""Subjects remembered as valid, so that a repeated publish pays a look-up and no parsing.
At most 255 bytes each: about 1 MiB."""

RESERVED_TOKEN = "_mesh"  # noqa: S105  a token of a subject
"""First token of the mesh's own subjects; users can neither publish nor subscribe there."""

EVERYONE = "*"
"""The group whose broadcast reaches every node."""

_RESERVED_SERVICE = f"{RESERVED_TOKEN}."
_EVERYONE_SUBJECT = f"{RESERVED_TOKEN}.all"
_GROUP_PREFIX = f"{RESERVED_TOKEN}.g."
_QUEUE_PREFIX = f"{RESERVED_TOKEN}.q."

_NAME = re.compile(rf"[A-Za-z0-9_-]{{1,{MAX_NAME_CHARS}}}")
_NAME_RULE = f"1 to {MAX_NAME_CHARS} of the characters A-Z a-z 0-9 _ - are allowed"
# \s is Unicode white space; the ranges are the C0 and C1 controls. Deliberately no other Unicode
# categories: they change between Python versions, and two nodes must agree on what is valid.
_FORBIDDEN_CHAR = re.compile(r"[\s\x00-\x1f\x7f-\x9f]")


def check_name(kind: str, name: object) -> str:
    """Return `name` if it is a valid name.

    :param kind: what the name is of ("service", "group", ...), for the message only
    :raises BadName: it is no string, or not ``[A-Za-z0-9_-]{1,64}``
    """
    if isinstance(name, str) and _NAME.fullmatch(name):
        return name
    raise BadName(f"bad {kind} name {_shown(name)}: {_name_fault(name)}; {_NAME_RULE}")


def split_method(path: object) -> tuple[str, str]:
    """Split ``"calc.add"`` into service ``"calc"`` and method ``"add"``.

    :raises BadName: it is no string, has not exactly one dot, or a part is no valid name
    """
    if not isinstance(path, str):
        raise BadName(f"bad method {_shown(path)}: {_type_fault(path)}; give 'service.method'")
    service, dot, method = path.partition(".")
    if not dot or "." in method:
        raise BadName(
            f"bad method {_shown(path)}: it has {path.count('.')} dots; give 'service.method'"
        )
    return check_name("service", service), check_name("method", method)


def is_reserved_method(path: str) -> bool:
    """Whether a "service.method" is one of the mesh's own."""
    return path.startswith(_RESERVED_SERVICE)


def check_subject(subject: object) -> str:
    """Return `subject` if one may publish on it: valid tokens, no wildcard, not reserved.

    :raises BadName: it says which rule is broken
    """
    if isinstance(subject, str):
        return _checked_subject(subject)
    raise BadName(f"bad subject {_shown(subject)}: {_type_fault(subject)}")


def check_pattern(pattern: object) -> str:
    """Return `pattern` if one may subscribe to it: a subject in which ``*`` may stand for any
    token and ``>`` for the last.

    :raises BadName: it says which rule is broken
    """
    if not isinstance(pattern, str):
        raise BadName(f"bad pattern {_shown(pattern)}: {_type_fault(pattern)}")
    fault = _subject_fault(pattern, wildcards=True)
    if fault:
        raise BadName(f"bad pattern {_shown(pattern)}: {fault}")
    return pattern


def group_subject(name: object) -> str:
    """The reserved subject that carries a group's messages; `EVERYONE` has its own.

    :raises BadName: neither `EVERYONE` nor a valid name
    """
    if name == EVERYONE:
        return _EVERYONE_SUBJECT
    return _GROUP_PREFIX + check_name("group", name)


def group_of(subject: str) -> str | None:
    """The group whose messages `subject` carries; None for every other subject."""
    if subject == _EVERYONE_SUBJECT:
        return EVERYONE
    if not subject.startswith(_GROUP_PREFIX):
        return None
    name = subject[len(_GROUP_PREFIX) :]
    return name if _NAME.fullmatch(name) else None


def queue_pool(name: object) -> str:
    """The reserved name of a queue group's pool; a group's pool is its `group_subject`.

    :raises BadName: no valid name
    """
    return _QUEUE_PREFIX + check_name("queue group", name)


def queue_of(pool: str) -> str | None:
    """The queue group whose pool that is; None for every other name."""
    if not pool.startswith(_QUEUE_PREFIX):
        return None
    name = pool[len(_QUEUE_PREFIX) :]
    return name if _NAME.fullmatch(name) else None


@lru_cache(maxsize=CHECKED_SUBJECTS)
def _checked_subject(subject: str) -> str:
    fault = _subject_fault(subject, wildcards=False)
    if fault:
        raise BadName(f"bad subject {_shown(subject)}: {fault}")
    return subject


def _subject_fault(subject: str, *, wildcards: bool) -> str | None:
    """What is wrong with a subject or, with `wildcards`, a pattern; None if nothing is."""
    # Every character takes at least one byte: a huge string is refused before it is encoded.
    if len(subject) > MAX_SUBJECT_BYTES:
        return f"it is longer than {MAX_SUBJECT_BYTES} bytes"
    try:
        size_bytes = len(subject.encode())
    except UnicodeEncodeError:
        return "it holds a lone surrogate, which UTF-8 cannot carry"
    if size_bytes > MAX_SUBJECT_BYTES:
        return f"its UTF-8 form is longer than {MAX_SUBJECT_BYTES} bytes"
    if not subject:
        return "it is empty"
    forbidden = _FORBIDDEN_CHAR.search(subject)
    if forbidden:
        return f"white space and control characters ({forbidden[0]!r}) are not allowed"
    return _token_fault(subject.split("."), wildcards=wildcards)


def _token_fault(tokens: list[str], *, wildcards: bool) -> str | None:
    if len(tokens) > MAX_SUBJECT_TOKENS:
        return f"it has {len(tokens)} tokens, at most {MAX_SUBJECT_TOKENS} are allowed"
    if "" in tokens:
        return "a token is empty (a dot at the start or end, or two in a row)"
    if tokens[0] == RESERVED_TOKEN:
        return f"subjects that begin with {RESERVED_TOKEN!r} are reserved"
    for position, token in enumerate(tokens, 1):
        if "*" not in token and ">" not in token:
            continue
        if not wildcards:
            return "wildcards (* and >) are for subscriptions only"
        if len(token) > 1:
            return f"a wildcard must be a whole token, not part of {token!r}"
        if token == ">" and position < len(tokens):  # noqa: S105  a token of a subject
            return "'>' may only be the last token"
    return None


def _name_fault(name: object) -> str:
    if not isinstance(name, str):
        return _type_fault(name)
    if not name:
        return "it is empty"
    if len(name) > MAX_NAME_CHARS:
        return f"it has {len(name)} characters"
    wrong = next(char for char in name if not _NAME.fullmatch(char))
    return f"{wrong!r} is not allowed"


def _type_fault(value: object) -> str:
    return f"it is of type {type(value).__name__}, not str"


def _shown(value: object) -> str:
    """`value` for an error message, never longer than a line."""
    text = ascii(value) if isinstance(value, str) else f"({type(value).__name__})"
    return text if len(text) <= 80 else text[:77] + "..."
