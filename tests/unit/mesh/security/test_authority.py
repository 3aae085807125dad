"""The authority's folder: secret, whole after a crash, and knowing all that it issued."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from mesh.security import authority as module
from mesh.security import secret_files
from mesh.security.authority import Authority, fingerprint_of
from mesh.security.boxes import new_secret, public_of
from mesh.security.certificates import (
    CLOCK_SKEW_SECONDS,
    NO_REVOCATIONS,
    Certificate,
    Revocations,
    RotationOrder,
)
from mesh.security.keys import generate_key
from patterns.errors import BadName, ConfigError

NODE_KEY = public_of(new_secret())
DAY = 86_400


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "mesh" / "ca" / "lab"


@pytest.fixture
def lab(folder: Path) -> Authority:
    return Authority.create(folder, "lab")


def test_its_folder_is_its_owners_alone(folder: Path) -> None:
    before = os.umask(0)
    try:
        lab = Authority.create(folder, "lab")
        lab.issue("calc", NODE_KEY)
        lab.revoke("calc")
    finally:
        os.umask(before)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    names = {"authority.json", "mesh.key", "issued.json", "revocations.json", "lock"}
    assert set(os.listdir(folder)) == names
    assert {stat.S_IMODE((folder / name).stat().st_mode) for name in names} == {0o600}


def test_it_is_opened_as_it_was_made(lab: Authority) -> None:
    lab.issue("calc", NODE_KEY, ["web", "ops", "web"])
    again = Authority.open(lab.folder)
    assert (again.mesh, again.public, again.key) == ("lab", lab.public, lab.key)
    (issued,) = again.issued()
    assert (issued.name, issued.roles) == ("calc", ("ops", "web"))
    assert again.revocations() == NO_REVOCATIONS
    assert Certificate.from_bytes(issued.raw, lab.public) == issued


def test_a_given_key_is_kept(folder: Path) -> None:
    key = generate_key()
    assert Authority.create(folder, "lab", key=key).key == key
    assert Authority.open(folder).key == key


@pytest.mark.parametrize("key", ["", "mesh1-cut", " blanks ", "two\nlines", "k" * 600])
def test_a_key_that_cannot_be_kept_is_refused(folder: Path, key: str) -> None:
    with pytest.raises(ConfigError, match="key"):
        Authority.create(folder, "lab", key=key)
    assert not folder.exists()


def test_there_is_one_in_a_folder(lab: Authority) -> None:
    with pytest.raises(ConfigError, match="already"):
        Authority.create(lab.folder, "lab")
    assert Authority.open(lab.folder).public == lab.public


def test_where_there_is_none_it_is_said_how_to_make_one(folder: Path) -> None:
    with pytest.raises(ConfigError, match="meshctl ca init"):
        Authority.open(folder)


def test_a_signing_key_that_others_can_read_is_refused(lab: Authority) -> None:
    (lab.folder / "authority.json").chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        Authority.open(lab.folder)


@pytest.mark.parametrize("name", ["authority.json", "issued.json", "revocations.json"])
@pytest.mark.parametrize("content", [b"", b"{}", b"\xff", b'{"format": "mesh key 1"}'])
def test_a_broken_file_is_named(lab: Authority, name: str, content: bytes) -> None:
    (lab.folder / name).write_bytes(content)

    def read_all() -> None:
        again = Authority.open(lab.folder)
        again.issued()
        again.revocations()

    with pytest.raises(ConfigError, match=name):
        read_all()


@pytest.mark.parametrize("content", [b"", b"\xff", b"mesh1-cut"])
def test_a_broken_key_is_told(lab: Authority, content: bytes) -> None:
    (lab.folder / "mesh.key").write_bytes(content)
    with pytest.raises(ConfigError):
        lab.key


def test_certificates_of_another_authority_are_found_out(lab: Authority, tmp_path: Path) -> None:
    other = Authority.create(tmp_path / "other", "lab")
    other.issue("calc", NODE_KEY)
    (lab.folder / "issued.json").write_bytes((other.folder / "issued.json").read_bytes())
    with pytest.raises(ConfigError, match="not signed by this mesh's authority"):
        lab.issued()


def test_a_certificate_lasts_for_its_days(lab: Authority) -> None:
    certificate = lab.issue("calc", NODE_KEY, days=30, now=1e9)
    assert (certificate.not_before, certificate.not_after) == (10**9, 10**9 + 30 * DAY)
    certificate.check(1e9, "lab")
    assert not certificate.is_expired(1e9 + 30 * DAY)
    assert certificate.is_expired(1e9 + 31 * DAY)


@pytest.mark.parametrize("days", [0, -1, 3651, 1.5, True])
def test_days_are_bounded(lab: Authority, days: int) -> None:
    with pytest.raises(ConfigError, match="days"):
        lab.issue("calc", NODE_KEY, days=days)


def test_what_cannot_be_in_a_certificate_is_not_issued(lab: Authority) -> None:
    with pytest.raises(BadName):
        lab.issue("no good", NODE_KEY)
    with pytest.raises(BadName):
        lab.issue("calc", NODE_KEY, ["no good"])
    with pytest.raises(ConfigError, match="16"):
        lab.issue("calc", NODE_KEY, map(str, range(17)))
    with pytest.raises(ConfigError, match="longer than"):
        lab.issue("calc", NODE_KEY, [f"{number:064}" for number in range(16)])
    with pytest.raises(ConfigError, match="node key"):
        lab.issue("calc", NODE_KEY[:-1])
    assert lab.issued() == []


# Revoking


def test_all_certificates_of_a_name_are_revoked(lab: Authority) -> None:
    lost = [lab.issue("laptop", public_of(new_secret())) for _ in range(3)]
    kept = lab.issue("calc", NODE_KEY)
    revocations = lab.revoke("laptop")
    assert revocations.serials == {certificate.serial for certificate in lost}
    assert not revocations.revokes(kept)
    assert revocations.version == 1
    assert Authority.open(lab.folder).revocations() == revocations
    assert Revocations.from_bytes(revocations.raw, lab.public) == revocations


def test_who_comes_back_under_the_name_can_be_revoked_again(lab: Authority) -> None:
    first = lab.issue("laptop", NODE_KEY)
    lab.revoke("laptop")
    second = lab.issue("laptop", NODE_KEY)
    assert not lab.revocations().revokes(second)
    again = lab.revoke("laptop")
    assert (again.version, again.serials) == (2, {first.serial, second.serial})
    assert lab.revoke("laptop") == again


def test_the_valid_are_neither_expired_nor_revoked(lab: Authority) -> None:
    lab.issue("expired", NODE_KEY, days=1, now=1e9)
    lab.issue("revoked", NODE_KEY)
    lab.revoke("revoked")
    lab.issue("calc", NODE_KEY)
    assert [certificate.name for certificate in lab.valid()] == ["calc"]
    assert [certificate.name for certificate in lab.issued()] == ["expired", "revoked", "calc"]


def test_the_expired_drop_out_of_the_list(lab: Authority) -> None:
    lab.issue("old", NODE_KEY, days=1, now=1e9)
    lab.issue("new", NODE_KEY, days=30, now=1e9)
    assert len(lab.revoke("old", now=1e9).serials) == 1
    at = 1e9 + DAY + CLOCK_SKEW_SECONDS
    assert len(lab.revoke("new", now=at).serials) == 2
    lab.issue("third", NODE_KEY, days=30, now=1e9)
    third = lab.revoke("third", now=at + 1)
    assert (third.version, len(third.serials)) == (3, 2)


@pytest.mark.parametrize("name", ["nobody", "expired"])
def test_a_name_without_a_valid_certificate_is_told(lab: Authority, name: str) -> None:
    lab.issue("expired", NODE_KEY, days=1, now=1e9)
    with pytest.raises(ConfigError, match="meshctl ca list"):
        lab.revoke(name)


def test_more_than_a_list_can_hold_is_refused(
    lab: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_REVOKED", 2)
    for _ in range(3):
        lab.issue("laptop", NODE_KEY)
    with pytest.raises(ConfigError, match="new authority"):
        lab.revoke("laptop")
    assert lab.revocations() == NO_REVOCATIONS


def test_a_full_index_makes_room_of_the_expired(
    lab: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_ISSUED", 2)
    lab.issue("old", NODE_KEY, days=1, now=1e9)
    for name in ("a", "b"):
        lab.issue(name, NODE_KEY, days=30, now=1e9 + 5 * DAY)
    assert [certificate.name for certificate in lab.issued()] == ["a", "b"]
    with pytest.raises(ConfigError, match="2 certificates are valid"):
        lab.issue("c", NODE_KEY, now=1e9 + 5 * DAY)


# Several processes, and crashes


def test_what_another_process_did_is_seen(lab: Authority) -> None:
    other = Authority.open(lab.folder)
    first = lab.issue("calc", NODE_KEY)
    second = other.issue("calc", NODE_KEY)
    other.replace_key("another key")
    assert lab.key == "another key"
    assert lab.revoke("calc").serials == {first.serial, second.serial}
    assert other.revocations() == lab.revocations()


def test_a_change_waits_for_another_process_but_not_for_ever(
    lab: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(secret_files, "LOCK_WAIT", 0.1)
    with (
        secret_files.locked(lab.folder / "lock"),
        pytest.raises(ConfigError, match="another process holds"),
    ):
        lab.issue("calc", NODE_KEY)
    lab.issue("calc", NODE_KEY)


def test_a_write_that_fails_leaves_all_as_it_was(
    lab: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab.issue("calc", NODE_KEY)
    before = lab.issued()

    def fail(source: str, target: str) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(secret_files.os, "replace", fail)
    for change in (lambda: lab.issue("b", NODE_KEY), lambda: lab.revoke("calc")):
        with pytest.raises(OSError, match="Input/output"):
            change()
    monkeypatch.undo()
    assert (lab.issued(), lab.revocations()) == (before, NO_REVOCATIONS)
    assert not [name for name in os.listdir(lab.folder) if name.startswith(".")]


def test_a_making_that_was_killed_can_be_done_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(module, "write_document", die)
        with pytest.raises(KeyboardInterrupt):
            Authority.create(folder, "lab")
    with pytest.raises(ConfigError, match="no authority"):
        Authority.open(folder)
    assert Authority.create(folder, "lab").issued() == []


# The rest


def test_an_order_to_change_the_key_is_signed_and_not_yet_followed(lab: Authority) -> None:
    key = generate_key()
    before = lab.key
    order = lab.sign_rotation(key, 3600, now=1e9)
    assert RotationOrder.from_bytes(order.raw, lab.public) == order
    assert (order.issued_at, order.key, order.grace) == (10**9, key, 3600)
    assert lab.key == before


def test_a_fingerprint_is_short_and_the_authoritys_own(lab: Authority, tmp_path: Path) -> None:
    other = Authority.create(tmp_path / "other", "lab")
    assert fingerprint_of(lab.public) == fingerprint_of(Authority.open(lab.folder).public)
    assert fingerprint_of(lab.public) != fingerprint_of(other.public)
    assert len(fingerprint_of(lab.public)) == 19
