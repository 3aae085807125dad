"""What a node is keyed with, of its settings: the argument, else the environment; checked at once.

An identity has its mesh's name and key. It goes, given as an argument, before what the environment
says of those; whatever else is given beside it and says otherwise is an error.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from mesh.security.credentials import MAX_MESH_KEYS
from mesh.security.curve import NodeKey, bind_id
from mesh.security.identity_file import IdentityFile
from mesh.security.key_files import KeptKeys, read_keys
from mesh.security.keys import check_key
from patterns.errors import ConfigError
from patterns.names import check_name

__all__ = ["DEFAULT_MESH", "IdentityInput", "KeySettings", "env"]

DEFAULT_MESH = "mesh"

IdentityInput: TypeAlias = str | os.PathLike[str] | IdentityFile | None
"""How an identity is given: its file, or what was loaded from it."""


@dataclass(frozen=True, slots=True)
class KeySettings:
    """False without a mesh key: everything is in the clear then."""

    mesh: str
    texts: tuple[str, ...] = field(repr=False)
    """The mesh keys, the one in use first."""
    until: float | None
    """When the others are good no more, as Unix time."""
    file: str | None
    """Where they are from, and where a change of them is written."""
    secret: bytes = field(repr=False)
    """Of the node's own CURVE key, empty without a mesh key."""
    identity: IdentityFile | None
    """None in a mesh without identities."""

    @classmethod
    def make(cls, mesh: str | None, key: object, key_file: object, identity: object) -> KeySettings:
        """Raises BadName and ConfigError for what cannot work."""
        found = _identity(identity, mesh, key, key_file)
        if found is not None:
            return cls(found.mesh, (found.key,), None, None, found.node_secret, found)
        mesh = check_name("mesh", mesh or env("MESH_NAME") or DEFAULT_MESH)
        file, (texts, until) = _keys(key, key_file)
        return cls(mesh, texts, until, file, _new_secret(texts), None)

    def __bool__(self) -> bool:
        return bool(self.texts)

    def renewed(self) -> KeySettings:
        """For another node with the same settings: an identity stays, a drawn key does not."""
        return self if self.identity else replace(self, secret=_new_secret(self.texts))

    def new_id(self) -> bytes:
        """An id for a node with this key."""
        return bind_id(NodeKey(self.secret).public) if self.secret else secrets.token_bytes(16)


def env(name: str) -> str | None:
    """An environment variable; an empty one counts as unset."""
    return os.environ.get(name, "").strip() or None


def _new_secret(texts: Sequence[str]) -> bytes:
    return NodeKey.generate().secret if texts else b""


def _keys(key: object, key_file: object) -> tuple[str | None, KeptKeys]:
    """The file that the keys are from, if any, and the keys."""
    if key is None or (isinstance(key, str) and not key.strip()):
        key = None
        if key_file is None:
            key = env("MESH_KEY")
            key_file = env("MESH_KEY_FILE") if key is None else None
    elif key_file is not None:
        raise ConfigError("key= and key_file= are both given; use one")
    if key_file is not None:
        path = str(_checked_path("key_file", key_file))
        return path, _checked(read_keys(path), path)
    if key is None:
        return None, KeptKeys((), None)
    if not isinstance(key, str):
        raise ConfigError(f"key must be a str (a passphrase or a generated key), not {key!r:.20}")
    return None, _checked(KeptKeys((key,), None), "key")


def _checked(kept: KeptKeys, where: str) -> KeptKeys:
    if len(kept.texts) > MAX_MESH_KEYS:
        raise ConfigError(f"{where}: {len(kept.texts)} keys; a node takes at most {MAX_MESH_KEYS}")
    for key in kept.texts:
        check_key(key)
    return kept


def _checked_path(name: str, path: object) -> str:
    if not isinstance(path, str | os.PathLike):
        raise ConfigError(f"{name}={path!r:.60}: give the path of a file")
    return os.path.expanduser(os.fspath(path))


def _identity(
    identity: object, mesh: str | None, key: object, key_file: object
) -> IdentityFile | None:
    """The identity, if one is given and nothing beside it says otherwise. Raises ConfigError."""
    given = "identity="
    if identity is None or (isinstance(identity, str) and not identity.strip()):
        identity = env("MESH_IDENTITY")
        if identity is None:
            return None
        given = "MESH_IDENTITY"
        mesh = mesh or env("MESH_NAME")
        key = key or key_file or env("MESH_KEY") or env("MESH_KEY_FILE")
    if isinstance(identity, str | os.PathLike):
        identity = IdentityFile.load(os.fspath(identity))
    if not isinstance(identity, IdentityFile):
        raise ConfigError(f"identity={identity!r:.60}: give the path of an identity file")
    if key_file is not None or (key is not None and (not isinstance(key, str) or key.strip())):
        raise ConfigError(f"{given} and a key are both given: the identity has the mesh's key")
    if mesh and mesh != identity.mesh:
        raise ConfigError(
            f"{given} is for the mesh {identity.mesh!r}, and {mesh!r} is given, too: "
            "leave one of them out"
        )
    identity.check()
    return identity
