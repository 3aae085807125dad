"""Authorities and what they sign, for tests."""

from __future__ import annotations

from mesh.security.boxes import public_of
from mesh.security.certificates import (
    CERTIFICATE,
    REVOCATIONS,
    ROTATION,
    Certificate,
    Revocations,
    RotationOrder,
)
from mesh.security.signed import public_of_seed, sign

SEED = bytes(range(32))
PUBLIC = public_of_seed(SEED)
OTHER = public_of_seed(bytes(32))
NOW = 1_800_000_000
NODE_SECRET = bytes(range(32, 64))
NODE_KEY = public_of(NODE_SECRET)
KEY = "mesh1-" + "a" * 51 + "q"

FIELDS = (b"serial 1", "calc", ["ops", "web"], NODE_KEY, "lab", NOW, NOW + 1000)


def certificate(**fields: object) -> Certificate:
    """One that the authority signed; ``fields`` are those that differ."""
    names = ("serial", "name", "roles", "node_key", "mesh", "not_before", "not_after")
    values = (dict(zip(names, FIELDS, strict=True)) | fields).values()
    return Certificate.from_bytes(sign(SEED, CERTIFICATE, list(values)), PUBLIC)


def revocations(version: int, *serials: bytes) -> Revocations:
    raw = sign(SEED, REVOCATIONS, (version, b"".join(serials)))
    return Revocations.from_bytes(raw, PUBLIC)


def rotation(key: str = KEY, grace: int = 60) -> RotationOrder:
    return RotationOrder.from_bytes(sign(SEED, ROTATION, (NOW, key, grace)), PUBLIC)
