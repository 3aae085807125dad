"""A policy: which identities may call, publish, subscribe, join, broadcast and groupcast what.

Rules:

* They are looked at in order. One *applies* to an identity that it names, and to a right that it
  speaks of. For a name (a method, a subject, a group) the first rule with a pattern that matches
  decides; when there is none, ``default``.
* To subscribe to a pattern is allowed just when each subject that it matches is: it is denied by
  the first denying rule that has a subject in common with it which no rule before has allowed, and
  by ``default`` when the rules that allow do not, all together, cover it.
* Who has no identity may nothing, whatever the default. Else a rule that denies something to
  everybody would not be one for strangers.

It is a value: nothing in it changes, and every node may have the same. It reads no clock and no
socket; ``load`` reads a file.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Self

from mesh.security import policy_file
from mesh.security.identity import Identity
from mesh.security.rules import (
    DEFAULT,
    MAX_PATTERNS,
    NO_IDENTITY,
    RIGHTS,
    Rule,
    check_rules,
    check_who,
    compared,
    is_one_of,
)
from patterns.errors import BadName, ConfigError
from patterns.names import check_name
from patterns.subjects import intersection, is_covered

__all__ = ["Decision", "Policy"]


class Decision(NamedTuple):
    """Whether it is allowed, and by which rule."""

    is_allowed: bool
    rule: str


class Policy:
    """``rules`` in their order; ``roles`` maps a role to the names of identities that have it,
    beside the roles that they bring along; ``default`` is "deny" or "allow".

    Raises ConfigError for what cannot work.
    """

    def __init__(
        self,
        rules: Iterable[Rule] = (),
        *,
        roles: Mapping[str, Sequence[str]] | None = None,
        default: str = "deny",
    ) -> None:
        self.rules = check_rules(rules)
        self.roles = _check_roles(roles if roles is not None else {})
        if default not in ("deny", "allow"):
            raise ConfigError(f'default = {default!r:.40}: write "deny" or "allow"')
        self.default = default

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """From a TOML file (``docs/permissions.md``). Raises ConfigError that names it."""
        text = policy_file.read(path)
        try:
            return cls.from_toml(text)
        except ConfigError as error:
            raise ConfigError(f"{path}: {error}") from None

    @classmethod
    def from_toml(cls, text: str) -> Self:
        """From the text of such a file. Raises ConfigError."""
        return cls(**policy_file.parse(text))

    def roles_of(self, identity: Identity) -> frozenset[str]:
        """Those that it brings along, and those that this policy gives it."""
        given = (role for role, who in self.roles.items() if is_one_of(who, identity.name, ()))
        return identity.roles.union(given)

    def decide(self, identity: Identity | None, right: str, name: str) -> Decision:
        """Whether that one has the right to that name; a pattern, to subscribe."""
        if right not in RIGHTS:
            raise ValueError(f"{right!r} is no right; there are: {', '.join(RIGHTS)}")
        if identity is None:
            return Decision(False, NO_IDENTITY)
        roles = self.roles_of(identity)
        allowed: list[str] = []
        for rule in self.rules:
            patterns = rule.rights.get(right, ())
            subject, patterns = compared(right, name, patterns, allows=rule.allows)
            if not patterns or not is_one_of(rule.who, identity.name, roles):
                continue
            if rule.allows:
                useful = [p for p in patterns if intersection(p, subject) is not None]
                allowed += useful
                if useful and is_covered(subject, allowed):
                    return Decision(True, rule.name)
            elif _denies(patterns, subject, allowed):
                return Decision(False, rule.name)
        return Decision(self.default == "allow", DEFAULT)

    def __repr__(self) -> str:
        return f"<Policy of {len(self.rules)} rules, by default {self.default}>"


def _denies(patterns: Iterable[str], subject: str, allowed: Sequence[str]) -> bool:
    """Whether some of these take away a part of ``subject`` that is not allowed already."""
    for pattern in patterns:
        part = intersection(pattern, subject)
        if part is not None and not is_covered(part, allowed):
            return True
    return False


def _check_roles(roles: object) -> Mapping[str, Sequence[str]]:
    if not isinstance(roles, Mapping):
        raise ConfigError("roles map each role to a list of names of identities")
    for role, who in roles.items():
        try:
            check_name("role", role)
            if any(entry.startswith("role:") for entry in check_who(who)):
                raise ConfigError("a role has identities, and no other roles")
        except (ConfigError, BadName) as error:
            raise ConfigError(f"roles: {role!r:.80}: {error}") from None
    count = sum(map(len, roles.values()))
    if count > MAX_PATTERNS:
        raise ConfigError(f"{count} names in roles; a policy may have {MAX_PATTERNS}")
    return dict(roles)
