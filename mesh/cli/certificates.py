"""Certificates as commands show them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from mesh.security.certificates import Certificate, Revocations

__all__ = ["as_document", "as_row", "day", "state_of"]

COLUMNS = ("name", "state", "expires", "roles", "serial")


def state_of(certificate: Certificate, revocations: Revocations) -> str:
    """ "revoked", "expired" or "valid". Who has expired drops out of the list of the revoked."""
    if revocations.revokes(certificate):
        return "revoked"
    return "expired" if certificate.is_expired() else "valid"


def as_row(certificate: Certificate, revocations: Revocations) -> tuple[str, ...]:
    """The cells of `COLUMNS`."""
    return (
        certificate.name,
        state_of(certificate, revocations),
        day(certificate.not_after),
        ", ".join(certificate.roles),
        certificate.serial.hex(),
    )


def as_document(certificate: Certificate, revocations: Revocations) -> dict[str, Any]:
    return {
        "name": certificate.name,
        "mesh": certificate.mesh,
        "roles": list(certificate.roles),
        "serial": certificate.serial.hex(),
        "state": state_of(certificate, revocations),
        "not_before": datetime.fromtimestamp(certificate.not_before, UTC),
        "not_after": datetime.fromtimestamp(certificate.not_after, UTC),
    }


def day(moment: int) -> str:
    """The date, in UTC."""
    return f"{datetime.fromtimestamp(moment, UTC):%Y-%m-%d}"
