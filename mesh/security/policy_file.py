"""A policy as people write it, in TOML::

    default = "deny"                         # what no rule covers; "deny" unless it says "allow"

    [roles]                                  # beside the roles that identities bring along
    shop = ["shop-1", "shop-2"]

    [[rule]]
    name = "shops-order"
    who = ["role:shop"]
    allow.call = ["orders.create"]
    allow.publish = ["orders.>"]

    [[rule]]
    name = "no-secrets"
    who = ["*"]
    deny.subscribe = ["secrets.>"]

An unknown key is an error: a rule that is misspelt must not look as if it held.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mesh.security.rules import Rule
from patterns.errors import ConfigError

__all__ = ["MAX_FILE_BYTES", "parse", "read"]

MAX_FILE_BYTES = 1024 * 1024
"""More than as many rules and patterns as there may be take."""

_KEYS = ("default", "roles", "rule")
_RULE_KEYS = ("name", "who", "allow", "deny")


def read(path: str | Path) -> str:
    """The text of a policy file. Raises ConfigError."""
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"the policy {path} cannot be read: {error.strerror or error}") from None
    if len(data) > MAX_FILE_BYTES:
        raise ConfigError(f"the policy {path} is larger than {MAX_FILE_BYTES} bytes")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise ConfigError(f"the policy {path} is no UTF-8: {error}") from None


def parse(text: str) -> dict[str, Any]:
    """The arguments for ``Policy``. Raises ConfigError that names the rule."""
    # Here and not above: most nodes have no policy, and start faster without it.
    import tomllib

    try:
        table = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigError(f"no TOML: {error}") from None
    _check_keys("", table, _KEYS)
    given = table.get("rule", [])
    if not isinstance(given, list) or not all(isinstance(rule, dict) for rule in given):
        raise ConfigError("rules are written as [[rule]], each with name, who and allow or deny")
    arguments: dict[str, Any] = {"rules": [_rule(*pair) for pair in enumerate(given, 1)]}
    return arguments | {key: table[key] for key in ("default", "roles") if key in table}


def _rule(number: int, table: dict[str, Any]) -> Rule:
    name = table.get("name")
    title = f"rule {name!r:.80}" if name is not None else f"rule {number}"
    _check_keys(f"{title}: ", table, _RULE_KEYS)
    for key in ("name", "who"):
        if key not in table:
            raise ConfigError(f"{title} has no {key}; give it one")
    for key in ("allow", "deny"):
        if not isinstance(table.get(key, {}), dict):
            raise ConfigError(f'{title}: write what to {key} as {key}.call = ["orders.*"]')
    return Rule(**table)


def _check_keys(where: str, table: dict[str, Any], known: tuple[str, ...]) -> None:
    for key in table:
        if key not in known:
            raise ConfigError(f"{where}unknown key {key!r:.80}; there are: {', '.join(known)}")
