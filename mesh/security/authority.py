"""The mesh's authority: a signing key in a folder, and what it has signed.

It is needed to invite, to revoke and to order a new mesh key, and for nothing else: nodes only
have its public half. The folder holds

================  ============================================================
authority.json    the mesh's name and the secret signing key: what to back up
mesh.key          the mesh's key, as ``--key-file`` reads it
issued.json       the certificates, so that a name can be revoked
revocations.json  the newest list of revocations
lock              held by whoever changes one of these
================  ============================================================

Several processes may use one folder (an invite waits while another machine is revoked), so all but
the signing key is read again for each operation, under the lock. An issued certificate is in the
index before anybody gets it: a crash may leave one there that nobody has, never the other way.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Self

from mesh.security.certificates import (
    CERTIFICATE,
    MAX_KEY_BYTES,
    MAX_REVOKED,
    MAX_ROLES,
    NO_REVOCATIONS,
    REVOCATIONS,
    ROTATION,
    SERIAL_BYTES,
    Certificate,
    Revocations,
    RotationOrder,
)
from mesh.security.documents import Document, binary, write_document
from mesh.security.keys import check_key, generate_key
from mesh.security.secret_files import locked, make_folder, read_secret, write_secret
from mesh.security.signed import BadCertificate, public_of_seed, sign
from patterns.errors import ConfigError
from patterns.names import check_name

__all__ = ["DEFAULT_DAYS", "Authority", "fingerprint_of"]

KIND = "mesh authority 1"
ISSUED = "mesh issued 1"
REVOKED = "mesh revocations 1"

DEFAULT_DAYS = 365

MAX_DAYS = 3650
"""Ten years: a certificate that never expires stays on the list of revocations for ever."""

MAX_ISSUED = 10_000
"""Certificates in the index. Ten times what can be revoked at once; expired ones make room."""

MAX_FILE_BYTES = 16 * 1024 * 1024
"""A full index, each certificate as long as it may be."""

SEED_BYTES = 32
DAY_SECONDS = 86_400

ADVICE = "restore the folder from its backup"


class Authority:
    """Made by ``create`` and ``open``. All methods raise ConfigError for a folder that is broken,
    and OSError when it cannot be written."""

    def __init__(self, folder: Path, mesh: str, seed: bytes) -> None:
        self.folder = folder
        self.mesh = mesh
        self._seed = seed
        self.public = public_of_seed(seed)
        """Its Ed25519 public key, 32 bytes: what nodes verify with."""

    @classmethod
    def create(cls, folder: str | Path, mesh: str, *, key: str | None = None) -> Self:
        """A new one; ``key`` is the mesh's key, None makes one of full strength.

        Raises ConfigError when there is one already, BadName for the name of the mesh.
        """
        folder = Path(folder).expanduser()
        check_name("mesh", mesh)
        key = generate_key() if key is None else _checked_key(key)
        make_folder(folder)
        authority = cls(folder, mesh, secrets.token_bytes(SEED_BYTES))
        with authority._locked():
            if authority._path("authority.json").exists():
                raise ConfigError(
                    f"{folder} has an authority already: use it, or move it away first"
                )
            # What it keeps about, first: the signing key says that all is there.
            authority._write_key(key)
            authority._write_issued([])
            authority._write_revocations(NO_REVOCATIONS)
            fields = {"mesh": mesh, "seed": binary(authority._seed)}
            write_document(authority._path("authority.json"), KIND, fields)
        return authority

    @classmethod
    def open(cls, folder: str | Path) -> Self:
        """Raises ConfigError when there is none, or others can read it."""
        folder = Path(folder).expanduser()
        path = folder / "authority.json"
        if not path.exists():
            raise ConfigError(
                f"there is no authority in {folder}: 'meshctl ca init' makes one, on one machine "
                "of the mesh"
            )
        document = Document(path, KIND, MAX_FILE_BYTES, ADVICE)
        seed = document.binary("seed")
        if len(seed) != SEED_BYTES:
            raise document.wrong("its signing key is cut off")
        return cls(folder, check_name("mesh", document.text("mesh")), seed)

    @property
    def key(self) -> str:
        """The mesh's key, now."""
        path = self._path("mesh.key")
        try:
            return _checked_key(read_secret(path, MAX_KEY_BYTES + 2).decode().strip())
        except UnicodeDecodeError:
            raise ConfigError(f"{path} is not text; {ADVICE}") from None

    def replace_key(self, key: str) -> None:
        """Keep another mesh key, for those who are invited from now on."""
        key = _checked_key(key)
        with self._locked():
            self._write_key(key)

    # Certificates.

    def issue(
        self,
        name: str,
        node_key: bytes,
        roles: Iterable[str] = (),
        days: int = DEFAULT_DAYS,
        *,
        now: float | None = None,
    ) -> Certificate:
        """A certificate for the owner of ``node_key``, the public half of its CURVE key pair.

        Raises BadName for names, ConfigError for what else cannot be in one.
        """
        wanted = sorted({check_name("role", role) for role in roles})
        if len(wanted) > MAX_ROLES:
            raise ConfigError(f"{len(wanted)} roles: a certificate takes {MAX_ROLES}")
        if type(days) is not int or not 1 <= days <= MAX_DAYS:
            raise ConfigError(f"days={days!r}: give a number from 1 to {MAX_DAYS}")
        begin = int(time.time() if now is None else now)
        with self._locked():
            issued = self.issued()
            fields = (
                _new_serial(issued),
                check_name("node", name),
                wanted,
                node_key,
                self.mesh,
                begin,
                begin + days * DAY_SECONDS,
            )
            raw = sign(self._seed, CERTIFICATE, fields)
            certificate = Certificate.from_bytes(raw, self.public)
            self._write_issued([*_with_room(issued, begin), certificate])
        return certificate

    def issued(self) -> list[Certificate]:
        """All of them, in the order in which they were issued."""
        document = Document(self._path("issued.json"), ISSUED, MAX_FILE_BYTES, ADVICE)
        try:
            return [
                Certificate.from_bytes(raw, self.public)
                for raw in document.binaries("certificates")
            ]
        except BadCertificate as error:
            raise document.wrong(error) from None

    def valid(self, now: float | None = None) -> list[Certificate]:
        """Those that have neither expired nor been revoked."""
        revocations = self.revocations()
        issued = self.issued()
        return [c for c in issued if not (c.is_expired(now) or revocations.revokes(c))]

    # Revocations.

    def revocations(self) -> Revocations:
        """The newest list."""
        document = Document(self._path("revocations.json"), REVOKED, MAX_FILE_BYTES, ADVICE)
        raw = document.binary("list")
        if not raw:
            return NO_REVOCATIONS
        try:
            return Revocations.from_bytes(raw, self.public)
        except BadCertificate as error:
            raise document.wrong(error) from None

    def revoke(self, name: str, *, now: float | None = None) -> Revocations:
        """The new list, with every certificate of that name that has not expired.

        When all of them are on the list already, that list. Raises ConfigError when there are none,
        and when the list is full.
        """
        check_name("node", name)
        moment = time.time() if now is None else now
        with self._locked():
            valid = {c.serial: c for c in self.issued() if not c.is_expired(moment)}
            serials = {serial for serial, one in valid.items() if one.name == name}
            if not serials:
                raise ConfigError(
                    f"no valid certificate was issued to {name!r}; 'meshctl ca list' lists them"
                )
            before = self.revocations()
            if serials <= before.serials:
                return before
            # One that has expired is refused by everybody without a list.
            wanted = serials | (before.serials & valid.keys())
            if len(wanted) > MAX_REVOKED:
                raise ConfigError(
                    f"more than {MAX_REVOKED} certificates would be revoked at once: "
                    "make a new authority and invite the machines that stay"
                )
            fields = (before.version + 1, b"".join(sorted(wanted)))
            raw = sign(self._seed, REVOCATIONS, fields)
            revocations = Revocations.from_bytes(raw, self.public)
            self._write_revocations(revocations)
        return revocations

    # The mesh's key.

    def sign_rotation(
        self, key: str, grace_seconds: int, *, now: float | None = None
    ) -> RotationOrder:
        """The order to use ``key`` from now on. It does not keep it: ``replace_key`` does."""
        fields = (int(time.time() if now is None else now), _checked_key(key), grace_seconds)
        return RotationOrder.from_bytes(sign(self._seed, ROTATION, fields), self.public)

    # Its files.

    def _path(self, name: str) -> Path:
        return self.folder / name

    def _locked(self) -> AbstractContextManager[None]:
        return locked(self._path("lock"))

    def _write_key(self, key: str) -> None:
        write_secret(self._path("mesh.key"), f"{key}\n".encode())

    def _write_issued(self, issued: Iterable[Certificate]) -> None:
        fields = {"certificates": [binary(certificate.raw) for certificate in issued]}
        write_document(self._path("issued.json"), ISSUED, fields)

    def _write_revocations(self, revocations: Revocations) -> None:
        fields = {"list": binary(revocations.raw)}
        write_document(self._path("revocations.json"), REVOKED, fields)


def fingerprint_of(public: bytes) -> str:
    """An authority's public key for people to compare: 16 hex digits, in groups of four."""
    digest = hashlib.blake2b(public, digest_size=8).hexdigest()
    return "-".join(digest[at : at + 4] for at in range(0, len(digest), 4))


def _checked_key(key: str) -> str:
    check_key(key)
    if len(key.encode()) > MAX_KEY_BYTES or key != " ".join(key.splitlines()).strip():
        raise ConfigError(
            f"the mesh key is to be one line of at most {MAX_KEY_BYTES} bytes, without blanks "
            "around it: files and variables cannot hold another"
        )
    return key


def _new_serial(issued: Iterable[Certificate]) -> bytes:
    taken = {certificate.serial for certificate in issued}
    while (serial := secrets.token_bytes(SERIAL_BYTES)) in taken:
        continue
    return serial


def _with_room(issued: Sequence[Certificate], now: float) -> Sequence[Certificate]:
    """The index with room for one more. Raises ConfigError when all of it is in use."""
    if len(issued) < MAX_ISSUED:
        return issued
    valid = [certificate for certificate in issued if not certificate.is_expired(now)]
    if len(valid) >= MAX_ISSUED:
        raise ConfigError(f"{MAX_ISSUED} certificates are valid: an authority has no more")
    return valid
