"""Profiles: the options of the mesh by name, in a file.

The file is ``$MESH_CONFIG``, else ``$XDG_CONFIG_HOME/mesh/config.toml``, else
``~/.config/mesh/config.toml``; only the first may not be missing. ::

    default_profile = "lab"

    [profile.lab]
    mesh = "lab"
    key_file = "lab.key"            # beside this file
    seeds = ["10.0.0.7:5555"]
    timeout = 2.5

The whole file is checked, not only the profile in use: a slip is told before it is needed.
"""

from __future__ import annotations

import math
import os
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import mesh
from mesh.cli.places import config_folder

__all__ = [
    "Profile",
    "config_path",
    "is_readable_by_others",
    "load",
    "profile_names",
    "used_profile",
]


@dataclass(frozen=True)
class Profile:
    """What a profile says; None where it says nothing."""

    mesh: str | None = None
    key: str | None = None
    key_file: str | None = None
    seeds: list[str] | None = None
    interfaces: list[str] | None = None
    timeout: float | None = None
    host: str | None = None
    insecure: bool | None = None


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_text, value))


def _is_seconds(value: Any) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and math.isfinite(value) and value >= 0


_KINDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "mesh": (_is_text, "a text"),
    "key": (_is_text, "a text"),
    "key_file": (_is_text, "the path of a file"),
    "seeds": (_are_texts, 'an array of "HOST:PORT"'),
    "interfaces": (_are_texts, "an array of names, addresses or networks"),
    "timeout": (_is_seconds, "seconds, 0 or more"),
    "host": (_is_text, "an address"),
    "insecure": (lambda value: isinstance(value, bool), "true or false"),
}
"""What a profile may say: how its value is checked, and what it must be."""


def config_path() -> Path:
    """Where the profiles are looked for; the file may be missing."""
    if named := os.environ.get("MESH_CONFIG", "").strip():
        return Path(named).expanduser()
    return config_folder() / "config.toml"


def load(name: str | None) -> Profile:
    """The profile with this name, of ``MESH_PROFILE``, or the default one; else an empty one.

    Raises ConfigError for a file that cannot be used and for a name that it does not have.
    """
    path = config_path()
    wanted, _ = used_profile(name)
    _, profiles = _read(path)
    if wanted is None:
        return Profile()
    if wanted not in profiles:
        there_are = ", ".join(sorted(profiles)) or "none"
        raise mesh.ConfigError(f"{path} has no profile {wanted!r}; its profiles: {there_are}")
    return profiles[wanted]


def used_profile(name: str | None) -> tuple[str | None, str]:
    """Which one is used, None if none is, and what says so. Raises ConfigError as ``load``."""
    if name is not None:
        return name, "--profile"
    if variable := os.environ.get("MESH_PROFILE", "").strip():
        return variable, "MESH_PROFILE"
    default, _ = _read(config_path())
    return default, "default_profile" if default is not None else "default"


def profile_names() -> list[str]:
    """The names of all profiles. Raises ConfigError for a file that cannot be used."""
    return sorted(_read(config_path())[1])


def is_readable_by_others(path: Path) -> bool:
    """Whether a file that holds a secret is open to other users of the machine."""
    try:
        return bool(path.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH))
    except OSError:
        return False


def _read(path: Path) -> tuple[str | None, dict[str, Profile]]:
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        if os.environ.get("MESH_CONFIG", "").strip():
            raise mesh.ConfigError(f"MESH_CONFIG: there is no file {path}") from None
        return None, {}
    except OSError as error:
        raise mesh.ConfigError(f"cannot read {path}: {error.strerror}") from None
    # Here and not above: most have no such file, and commands start faster without it.
    import tomllib

    try:
        content = tomllib.loads(text.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise mesh.ConfigError(f"{path} is not TOML: {error}") from None
    _refuse_unknown(content, ("default_profile", "profile"), f"{path}:")
    default = content.get("default_profile")
    if default is not None and not isinstance(default, str):
        raise mesh.ConfigError(f"{path}: default_profile must be the name of a profile")
    tables = content.get("profile", {})
    if not isinstance(tables, dict) or not all(isinstance(t, dict) for t in tables.values()):
        raise mesh.ConfigError(f"{path}: a profile is a table: write [profile.NAME]")
    return default, {name: _profile(path, name, table) for name, table in tables.items()}


def _profile(path: Path, name: str, table: Mapping[str, Any]) -> Profile:
    where = f"{path}: profile {name}:"
    _refuse_unknown(table, [field.name for field in fields(Profile)], where)
    for key, value in table.items():
        is_right, wanted = _KINDS[key]
        if not is_right(value):
            raise mesh.ConfigError(f"{where} {key} must be {wanted}")
    if "key" in table and "key_file" in table:
        raise mesh.ConfigError(f"{where} key and key_file are both there; keep one")
    found = dict(table)
    if "key_file" in table:
        found["key_file"] = str(path.parent / Path(table["key_file"]).expanduser())
    return Profile(**found)


def _refuse_unknown(table: Mapping[str, Any], known: list[str] | tuple[str, ...], at: str) -> None:
    for key in table:
        if key not in known:
            from difflib import get_close_matches  # only for who made a slip

            close = get_close_matches(key, known, 1)
            hint = f"did you mean {close[0]}?" if close else f"there are: {', '.join(known)}"
            raise mesh.ConfigError(f"{at} unknown key {key!r}; {hint}")
