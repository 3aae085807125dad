"""The file with a node's identity: whole, secret, and refused when it is not."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from mesh.security import secret_files
from mesh.security.certificates import BadCertificate
from mesh.security.identity_file import IdentityFile
from patterns.errors import ConfigError
from tests.unit.mesh.security.statements import (
    KEY,
    NODE_SECRET,
    NOW,
    OTHER,
    PUBLIC,
    certificate,
    revocations,
)

FIELDS: dict[str, Any] = {
    "mesh": "lab",
    "key": KEY,
    "node_secret": NODE_SECRET,
    "certificate": certificate(),
    "authority": PUBLIC,
}


@pytest.fixture
def made() -> IdentityFile:
    return IdentityFile(**FIELDS)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "lab.identity"


def test_it_is_loaded_as_it_was_saved(made: IdentityFile, path: Path) -> None:
    newer = made.with_revocations(revocations(3, b"serial 9"))
    for one in (made, newer):
        assert one.save(path).path == path
        assert IdentityFile.load(path) == one
        assert IdentityFile.load(str(path)).path == path
    assert newer.identity == certificate().identity


def test_its_file_is_its_owners_alone(made: IdentityFile, path: Path) -> None:
    before = os.umask(0)
    try:
        made.save(path)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o620, 0o602, 0o610])
def test_a_file_that_others_can_read_is_refused(made: IdentityFile, path: Path, mode: int) -> None:
    made.save(path)
    path.chmod(mode)
    with pytest.raises(ConfigError, match=f"chmod 600 {path}"):
        IdentityFile.load(path)
    path.chmod(0o400)
    assert IdentityFile.load(path) == made


def test_it_shows_no_secret(made: IdentityFile) -> None:
    assert KEY not in repr(made)
    assert repr(NODE_SECRET) not in repr(made)


def test_a_write_that_fails_leaves_the_old_file(
    made: IdentityFile, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made.save(path)

    def fail(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(secret_files.os, "fsync", fail)
    with pytest.raises(OSError, match="No space"):
        made.with_key("another").save(path)
    monkeypatch.undo()
    assert IdentityFile.load(path) == made
    assert os.listdir(path.parent) == [path.name]


def test_a_link_goes_on_pointing_to_the_file(made: IdentityFile, path: Path) -> None:
    made.save(path)
    link = path.with_name("link")
    link.symlink_to(path)
    IdentityFile.load(link).with_key("another").save()
    assert link.is_symlink()
    assert IdentityFile.load(path).key == "another"


def test_without_a_path_it_is_saved_where_it_came_from(made: IdentityFile, path: Path) -> None:
    with pytest.raises(ConfigError, match="where to save"):
        made.save()
    made.save(path).with_key("another").save()
    assert IdentityFile.load(path).key == "another"


def test_a_change_keeps_what_another_process_has_saved(made: IdentityFile, path: Path) -> None:
    ours, other = made.save(path), IdentityFile.load(path)
    other.update(lambda now: now.with_key("another"))
    other.update(lambda now: now.with_revocations(revocations(5)))
    after = ours.update(lambda now: now.with_revocations(revocations(2)))
    assert (after.key, after.revocations.version) == ("another", 5)
    assert IdentityFile.load(path) == after
    with pytest.raises(ConfigError, match="no file"):
        made.update(lambda now: now)
    path.unlink()
    with pytest.raises(ConfigError, match="No such file"):
        ours.update(lambda now: now)
    assert not path.exists()


def test_a_change_waits_for_that_of_another_process(
    made: IdentityFile, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(secret_files, "LOCK_WAIT", 0.05)
    ours = made.save(path)

    def meanwhile(now: IdentityFile) -> IdentityFile:
        with pytest.raises(ConfigError, match="another process holds"):
            ours.update(lambda now: now.with_key("lost"))
        return now.with_key("another")

    ours.update(meanwhile)
    assert IdentityFile.load(path).key == "another"


def test_an_older_list_does_not_replace_a_newer_one(made: IdentityFile) -> None:
    newer = made.with_revocations(revocations(2, b"serial 1"))
    assert newer.with_revocations(revocations(1)) is newer
    assert newer.with_revocations(revocations(2)) is newer
    assert newer.with_revocations(revocations(3)).revocations.version == 3


def test_it_is_checked_before_it_is_used(made: IdentityFile) -> None:
    made.check(NOW)
    with pytest.raises(BadCertificate, match="expired"):
        made.check(NOW + 10_000)
    with pytest.raises(BadCertificate, match="revoked"):
        made.with_revocations(revocations(1, b"serial 1")).check(NOW)


@pytest.mark.parametrize(
    ("field", "value", "match"),
    [
        ("mesh", "elsewhere", "for the mesh 'lab'"),
        ("key", "", "key is empty"),
        ("key", "mesh1-cut", "generated"),
        ("node_secret", bytes(range(64, 96)), "another node key"),
        ("node_secret", NODE_SECRET[:-1], "32 bytes"),
        ("authority", OTHER, "not signed by this mesh's authority"),
    ],
)
def test_parts_that_do_not_belong_together_are_refused(field: str, value: Any, match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        IdentityFile(**FIELDS | {field: value})


BROKEN: list[tuple[str, object, str]] = [
    ("format", "mesh identity 9", "format"),
    ("format", None, "format"),
    ("mesh", 7, 'no text "mesh"'),
    ("mesh", "elsewhere", "for the mesh"),
    ("key", None, 'no text "key"'),
    ("key", "", "key is empty"),
    ("node_secret", "%%%", "not base64"),
    ("node_secret", "é", "not base64"),
    ("node_secret", "AAAA", "32 bytes"),
    ("authority", "", "authority"),
    ("certificate", "AAAA", "cut off"),
    ("revocations", "AAAA", "cut off"),
    ("revocations", {}, 'no text "revocations"'),
]


@pytest.mark.parametrize(("field", "value", "match"), BROKEN)
def test_a_broken_file_is_named_and_said_what_to_do_about(
    made: IdentityFile, path: Path, field: str, value: object, match: str
) -> None:
    made.save(path)
    path.write_text(json.dumps(json.loads(path.read_text()) | {field: value}))
    with pytest.raises(ConfigError, match=match) as raised:
        IdentityFile.load(path)
    assert str(path) in str(raised.value)
    assert "meshctl invite" in str(raised.value)


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"[" * 50_000, "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[]", "format"),
        (b"null", "format"),
        (b" " * 100_000, "longer than"),
    ],
    ids=lambda value: str(value)[:12],
)
def test_a_file_of_another_kind_is_refused(path: Path, content: bytes, match: str) -> None:
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(ConfigError, match=match) as raised:
        IdentityFile.load(path)
    assert str(path) in str(raised.value)


def test_every_truncation_is_refused(made: IdentityFile, path: Path) -> None:
    made.save(path)
    whole = path.read_bytes().rstrip()
    for size in range(0, len(whole), 7):
        path.write_bytes(whole[:size])
        with pytest.raises(ConfigError):
            IdentityFile.load(path)


def test_a_file_that_is_not_there_is_told(path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read .*lab\.identity: No such file"):
        IdentityFile.load(path)
    with pytest.raises(ConfigError, match="directory"):
        IdentityFile.load(path.parent)
