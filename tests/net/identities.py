"""Identity files of one authority, for tests."""

from __future__ import annotations

from pathlib import Path

from mesh.security.authority import Authority
from mesh.security.curve import NodeKey
from mesh.security.identity_file import IdentityFile

__all__ = ["Mint"]


class Mint:
    """An authority, and the identities that it gave out, in a folder."""

    def __init__(self, folder: Path, mesh: str, authority: Authority | None = None) -> None:
        self.authority = authority or Authority.create(folder / "ca", mesh)
        self._folder = folder

    def identity(self, name: str, *roles: str) -> Path:
        """A new one."""
        node = NodeKey.generate()
        authority = self.authority
        IdentityFile(
            mesh=authority.mesh,
            key=authority.key,
            node_secret=node.secret,
            certificate=authority.issue(name, node.public, roles),
            authority=authority.public,
        ).save(self.path(name))
        return self.path(name)

    def path(self, name: str) -> Path:
        return self._folder / f"{name}.identity"
