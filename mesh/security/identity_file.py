"""What a node with an identity keeps: its key pair, its certificate, and the mesh that it is for.

The file is a secret like the mesh key, which is in it. An ``IdentityFile`` is whole and fits
together: the certificate is signed by the authority and is for this key pair and this mesh. It may
be expired or revoked: ``check`` tells.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

from mesh.security.boxes import KEY_BYTES, public_of
from mesh.security.certificates import NO_REVOCATIONS, BadCertificate, Certificate, Revocations
from mesh.security.documents import Document, binary, write_document
from mesh.security.identity import Identity
from mesh.security.keys import check_key
from mesh.security.secret_files import locked
from patterns.errors import ConfigError

__all__ = ["IdentityFile"]

KIND = "mesh identity 1"

MAX_FILE_BYTES = 64 * 1024
"""Four times a file with the longest list of revocations."""

ADVICE = "copy it again from a backup, or have the machine invited again ('meshctl invite')"


@dataclass(frozen=True, slots=True)
class IdentityFile:
    """An identity, and where it is kept (``path``, None before it is).

    Raises ConfigError when its parts do not belong together.
    """

    mesh: str
    key: str = field(repr=False)
    """The mesh's key."""
    node_secret: bytes = field(repr=False)
    """The secret half of the node's own key pair, 32 bytes."""
    certificate: Certificate
    authority: bytes
    """The authority's Ed25519 public key."""
    revocations: Revocations = NO_REVOCATIONS
    """The newest list that was seen."""
    path: Path | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        check_key(self.key)
        if len(self.node_secret) != KEY_BYTES:
            raise ConfigError(f"the node's secret key has not {KEY_BYTES} bytes")
        # Not only as it was made: what it was verified with must be the authority that is kept.
        certificate = Certificate.from_bytes(self.certificate.raw, self.authority)
        if certificate.mesh != self.mesh:
            raise BadCertificate(
                f"the certificate is for the mesh {certificate.mesh!r}, not {self.mesh!r}"
            )
        if certificate.node_key != public_of(self.node_secret):
            raise BadCertificate("the certificate is for another node key than the one beside it")
        if self.revocations.raw:
            Revocations.from_bytes(self.revocations.raw, self.authority)

    @property
    def identity(self) -> Identity:
        return self.certificate.identity

    @property
    def node_key(self) -> bytes:
        """The public half of the node's own key pair."""
        return self.certificate.node_key

    @property
    def is_revoked(self) -> bool:
        """Whether the newest list that this node has seen has its own certificate."""
        return self.revocations.revokes(self.certificate)

    def check(self, now: float | None = None) -> None:
        """Raises BadCertificate when it is no longer, or not yet, good for joining."""
        self.certificate.check(time.time() if now is None else now, self.mesh)
        if self.is_revoked:
            raise BadCertificate(
                f"the certificate of {self.certificate.name} is revoked: "
                "have the machine invited again"
            )

    def with_key(self, key: str) -> Self:
        """The same in a mesh that has a new key. Raises ConfigError for one that is none."""
        return replace(self, key=key)

    def with_revocations(self, revocations: Revocations) -> Self:
        """The same with this list, if it is newer than the one that it has."""
        if not revocations.is_newer_than(self.revocations):
            return self
        return replace(self, revocations=revocations)

    # Its file.

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Raises ConfigError for a file that cannot be used, and one that others can read."""
        path = Path(path).expanduser()
        document = Document(path, KIND, MAX_FILE_BYTES, ADVICE)
        authority = document.binary("authority")
        newest = document.binary("revocations")
        try:
            return cls(
                mesh=document.text("mesh"),
                key=document.text("key"),
                node_secret=document.binary("node_secret"),
                certificate=Certificate.from_bytes(document.binary("certificate"), authority),
                authority=authority,
                revocations=(
                    Revocations.from_bytes(newest, authority) if newest else NO_REVOCATIONS
                ),
                path=path,
            )
        except BadCertificate as error:
            raise BadCertificate(str(document.wrong(error))) from None
        except ConfigError as error:
            raise document.wrong(error) from None

    def save(self, path: str | Path | None = None) -> Self:
        """Write it, at once or not at all, readable by its owner alone; returns it with its path.

        :param path: where; None where it was loaded from
        :raises ConfigError: it was not loaded, and no path is given
        :raises OSError: it cannot be written there
        """
        if path is None:
            path = self.path
        if path is None:
            raise ConfigError("this identity has no file yet: say where to save it")
        path = Path(path).expanduser()
        write_document(
            path,
            KIND,
            {
                "mesh": self.mesh,
                "key": self.key,
                "node_secret": binary(self.node_secret),
                "authority": binary(self.authority),
                "certificate": binary(self.certificate.raw),
                "revocations": binary(self.revocations.raw),
            },
        )
        return replace(self, path=path)

    def update(self, change: Callable[[Self], Self]) -> Self:
        """Change its file, and return what is there then.

        ``change`` gets what the file says now: another process with the same identity may have
        saved a newer key or list, which must not be lost to what this one remembers.

        :raises ConfigError: it has no file, or that cannot be used any more
        :raises OSError: it cannot be written
        """
        if self.path is None:
            raise ConfigError("this identity has no file yet: say where to save it")
        with locked(self.path.with_name(f".{self.path.name}.lock")):
            before = type(self).load(self.path)
            after = change(before)
            return before if after == before else after.save(self.path)
