"""The rules of a policy: whom each is for, and what it allows or denies them.

A right is a verb, and says to which names it extends:

=============  =========================================  ====================================
right          verbs                                      what its patterns are about
=============  =========================================  ====================================
``call``       ``call``                                   methods: ``orders.*``, ``_mesh.tap``
``publish``    ``publish``, ``send``                      subjects: ``orders.>``
``subscribe``  ``subscribe``, queue groups as well        subjects
``join``       ``join``                                   groups: ``workers``, ``*`` for any
``broadcast``  ``broadcast``                              groups
``groupcast``  ``groupcast``                              groups
=============  =========================================  ====================================

Wildcards are those of subjects: ``*`` is one whole token, ``>`` one or more at the end.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from patterns.errors import BadName, ConfigError
from patterns.names import (
    EVERYONE,
    RESERVED_TOKEN,
    check_name,
    check_pattern,
    is_reserved_method,
)
from patterns.subjects import UNNAMED, covers

__all__ = [
    "DEFAULT",
    "GROUP_RIGHTS",
    "MAX_PATTERNS",
    "MAX_RULES",
    "NO_IDENTITY",
    "RIGHTS",
    "ROLE",
    "Rule",
    "check_rules",
    "check_who",
    "compared",
    "is_one_of",
]

RIGHTS = ("call", "publish", "subscribe", "join", "broadcast", "groupcast")
"""All there are."""

GROUP_RIGHTS = frozenset({"join", "broadcast", "groupcast"})

ROLE = "role:"
"""Begins a role where identities are named."""

DEFAULT = "default"
"""What decided when no rule did."""

NO_IDENTITY = "no-identity"
"""What decided on somebody who has not proved who he is."""

MAX_RULES = 256
MAX_PATTERNS = 4096
"""Of all rules together, names of identities and roles included: a decision that is not known yet
looks at all of them, which takes milliseconds, and a peer can ask for as many as it has names."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule, which either allows or denies. Raises ConfigError for what cannot work.

    ``name``   shown to whoever is denied, and in the audit log
    ``who``    identities by name, ``role:NAME``, or ``*`` for every one
    ``allow``  what they may: right -> patterns
    ``deny``   or what they may not
    """

    name: str
    who: Sequence[str]
    allow: Mapping[str, Sequence[str]] = field(default_factory=dict)
    deny: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        try:
            check_name("rule", self.name)
        except BadName as error:
            raise ConfigError(str(error)) from None
        if self.name in (DEFAULT, NO_IDENTITY):
            raise ConfigError(f"rule {self.name!r}: that name is taken; give it another")
        try:
            check_who(self.who)
            if not isinstance(self.allow, Mapping) or not isinstance(self.deny, Mapping):
                raise ConfigError('what it allows or denies is a map: {"call": ["orders.*"]}')
            if bool(self.allow) is bool(self.deny):
                raise ConfigError("say either allow or deny, with at least one right in it")
            for right, patterns in self.rights.items():
                _check_right(right, patterns)
        except (ConfigError, BadName) as error:
            raise ConfigError(f"rule {self.name!r}: {error}") from None

    @property
    def allows(self) -> bool:
        """Whether it allows what it is about; else it denies that."""
        return bool(self.allow)

    @property
    def rights(self) -> Mapping[str, Sequence[str]]:
        """What it is about."""
        return self.allow or self.deny

    @property
    def size(self) -> int:
        """How many patterns it has."""
        return len(self.who) + sum(map(len, self.rights.values()))


def is_one_of(who: Iterable[str], name: str, roles: Iterable[str]) -> bool:
    """Whether an identity of that name and these roles is meant by one of ``who``."""
    for entry in who:
        if entry.startswith(ROLE):
            wanted = entry.removeprefix(ROLE)
            if any(wanted == role or covers(wanted, role) for role in roles):
                return True
        elif entry in ("*", name) or covers(entry, name):
            return True
    return False


def subject_of(right: str, name: str) -> str:
    """A name as the patterns of that right see it.

    The group ``*`` is one group and no wildcard: only the patterns that match any group match it.
    """
    return UNNAMED if right in GROUP_RIGHTS and name == EVERYONE else name


def compared(
    right: str, name: str, patterns: Sequence[str], *, allows: bool = True
) -> tuple[str, Sequence[str]]:
    """A name, and the patterns of that right, as they are compared.

    No wildcard matches what is reserved. So the mesh's own methods are compared without what makes
    them that, and only with patterns that say it, too: ``_mesh.*`` is all of them, ``>`` is none.
    What denies is taken at its word: there ``>`` and ``*.drain`` are about these as well.
    """
    if right == "call" and is_reserved_method(name):
        own = [pattern for pattern in patterns if is_reserved_method(pattern)]
        if not allows:
            own += [p if p == ">" else f"{RESERVED_TOKEN}{p[1:]}" for p in patterns if p[0] in "*>"]
        return _own_name(name), [_own_name(pattern) for pattern in own]
    return subject_of(right, name), patterns


def _own_name(method: str) -> str:
    return method.partition(".")[2] or method


def check_rules(rules: Iterable[Rule]) -> tuple[Rule, ...]:
    """Rules that may be together in one policy. Raises ConfigError."""
    checked = tuple(rules)
    if not all(isinstance(rule, Rule) for rule in checked):
        raise ConfigError("rules are a list of mesh.Rule")
    if len(checked) > MAX_RULES:
        raise ConfigError(f"{len(checked)} rules; a policy may have {MAX_RULES}")
    count = sum(rule.size for rule in checked)
    if count > MAX_PATTERNS:
        raise ConfigError(
            f"{count} names and patterns; a policy may have {MAX_PATTERNS}: "
            "give roles, and let wildcards stand for many"
        )
    names: set[str] = set()
    for rule in checked:
        if rule.name in names:
            raise ConfigError(f"two rules are named {rule.name!r}; rename one")
        names.add(rule.name)
    return checked


def check_who(who: object) -> Sequence[str]:
    """Identities and roles. Raises ConfigError and BadName."""
    entries = _texts("who", who)
    for entry in entries:
        check_pattern(entry.removeprefix(ROLE))
    return entries


def _check_right(right: str, patterns: object) -> None:
    if right not in RIGHTS:
        raise ConfigError(f"unknown right {right!r:.40}; there are: {', '.join(RIGHTS)}")
    for pattern in _texts(right, patterns):
        tokens = _tokens(right, pattern)
        if right == "call":
            is_open = tokens[-1] == ">" and len(tokens) <= 2
            if len(tokens) != 2 and not is_open:
                raise ConfigError(f"call {pattern!r:.80}: give 'service.method', as in 'calc.*'")
        elif right in GROUP_RIGHTS and len(tokens) != 1:
            raise ConfigError(f"{right} {pattern!r:.80}: give the name of a group, or '*'")
        if right == "call" or right in GROUP_RIGHTS:
            for token in tokens:
                if token not in ("*", ">"):
                    check_name("group" if right in GROUP_RIGHTS else "method", token)


def _tokens(right: str, pattern: str) -> list[str]:
    """Raises BadName. Of what is reserved only the methods that every node has are given rights."""
    if right == "call" and is_reserved_method(pattern):
        return [RESERVED_TOKEN, *check_pattern(_own_name(pattern)).split(".")]
    return check_pattern(pattern).split(".")


def _texts(what: str, value: object) -> Sequence[str]:
    if (
        isinstance(value, Sequence)
        and not isinstance(value, str | bytes)
        and value
        and all(isinstance(text, str) for text in value)
    ):
        return value
    raise ConfigError(f"{what} = {value!r:.80}: give a list of texts, at least one")
