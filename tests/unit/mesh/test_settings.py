"""Settings of a node: its place in the ring, and its endpoints for plain clients."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mesh.membership import MAX_WEIGHT
from mesh.security.authority import Authority
from mesh.security.boxes import new_secret, public_of
from mesh.security.identity_file import IdentityFile
from mesh.settings import SOURCES, Settings
from patterns.errors import ConfigError


def make(**given: Any) -> Settings:
    settings: dict[str, Any] = {
        "mesh": "test",
        "key": None,
        "insecure": False,
        "host": "127.0.0.1",
        "port": 0,
        "seeds": (),
        "discovery": SOURCES,
        "interfaces": (),
        "tags": None,
        "instance": None,
        "weight": 1.0,
        "observer": False,
        "plain": None,
        "max_payload_bytes": None,
    }
    return Settings.make("calc", **settings | given)


def test_without_an_instance_the_id_is_the_nodes_name_in_the_ring() -> None:
    settings = make()
    assert settings.instance == settings.id.hex()
    assert make().instance != settings.instance
    assert settings.weight == 1.0


@pytest.mark.parametrize("instance", ["calc-1", "0", "ünï/çode 7", "x" * 255])
def test_an_instance_is_kept_as_it_is_given(instance: str) -> None:
    assert make(instance=instance).instance == instance


@pytest.mark.parametrize("instance", ["", "x" * 256, 7, b"calc-1", "\ud800"])
def test_an_instance_that_cannot_work_is_refused(instance: Any) -> None:
    with pytest.raises(ConfigError, match="instance"):
        make(instance=instance)


@pytest.mark.parametrize("weight", [1, 0.001, 2.5, MAX_WEIGHT])
def test_a_weight_is_any_number_above_0(weight: float) -> None:
    assert make(weight=weight).weight == weight
    assert type(make(weight=weight).weight) is float


@pytest.mark.parametrize(
    "weight",
    [
        0,
        -1.0,
        math.nan,
        math.inf,
        True,
        "2",
        None,
        2 * MAX_WEIGHT,
        pytest.param(10**5000, id="huge"),
    ],
)
def test_a_weight_that_is_no_share_is_refused(weight: Any) -> None:
    with pytest.raises(ConfigError, match="weight"):
        make(weight=weight)


@pytest.mark.parametrize(
    ("plain", "ports"),
    [
        (None, None),
        (False, None),
        (True, (0, 0)),
        ((5556, 5557), (5556, 5557)),
        ([5556, 0], (5556, 0)),
        ((0, 0), (0, 0)),
    ],
)
def test_plain_is_yes_or_no_or_two_ports(
    monkeypatch: pytest.MonkeyPatch, plain: Any, ports: tuple[int, int] | None
) -> None:
    monkeypatch.delenv("MESH_PLAIN", raising=False)
    assert make(plain=plain).plain == ports


@pytest.mark.parametrize(
    "plain", [5556, "5556,5557", (), (1,), (1, 2, 3), (5556, 5556), (-1, 0), (0, 65536), ("1", 2)]
)
def test_anything_else_for_plain_is_refused(plain: Any) -> None:
    with pytest.raises(ConfigError):
        make(plain=plain)


@pytest.mark.parametrize(
    ("text", "ports"),
    [("", None), ("no", None), ("1", (0, 0)), ("ON", (0, 0)), ("5556, 5557", (5556, 5557))],
)
def test_plain_comes_from_the_environment_unless_it_is_given(
    monkeypatch: pytest.MonkeyPatch, text: str, ports: tuple[int, int] | None
) -> None:
    monkeypatch.setenv("MESH_PLAIN", text)
    assert make().plain == ports
    assert make(plain=False).plain is None


@pytest.mark.parametrize("text", ["5556", "a,b", "5556,5556", "5556,70000", "maybe", "1,2,3"])
def test_nonsense_in_the_environment_is_refused(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("MESH_PLAIN", text)
    with pytest.raises(ConfigError):
        make()


def test_an_observer_has_no_plain_clients() -> None:
    with pytest.raises(ConfigError, match="observer"):
        make(plain=True, observer=True)
    assert make(plain=False, observer=True).plain is None


def test_an_observer_takes_no_notice_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is for the programs of a machine, meshctl among them."""
    monkeypatch.setenv("MESH_PLAIN", "1")
    assert make(observer=True).plain is None


def test_a_fresh_id_brings_a_fresh_instance_unless_it_was_given() -> None:
    drawn, given = make(), make(instance="a")
    assert drawn.with_fresh_id().id != drawn.id
    assert drawn.with_fresh_id().name == drawn.name
    assert drawn.with_fresh_id().instance != drawn.instance
    assert given.with_fresh_id().instance == "a"


# An identity


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> IdentityFile:
    """One of the mesh "lab" that is valid now, in its file."""
    for name in ("NAME", "KEY", "IDENTITY"):
        monkeypatch.delenv(f"MESH_{name}", raising=False)
    authority = Authority.create(tmp_path / "ca", "lab")
    secret = new_secret()
    made = IdentityFile(
        "lab", authority.key, secret, authority.issue("calc", public_of(secret)), authority.public
    )
    return made.save(tmp_path / "lab.identity")


def test_an_identity_has_the_mesh_and_its_key(
    lab: IdentityFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MESH_NAME", "elsewhere")
    monkeypatch.setenv("MESH_KEY", "another")
    for given in (lab, lab.path, str(lab.path)):
        settings = make(identity=given, mesh=None)
        assert (settings.mesh, settings.keys.texts) == ("lab", (lab.key,))
        assert settings.keys.identity == lab
    assert make(identity=lab, mesh="lab", key="").keys.texts == (lab.key,)
    assert make(identity=lab, mesh=None, host=None).host == "*"


def test_an_identity_may_come_from_the_environment(
    lab: IdentityFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MESH_IDENTITY", str(lab.path))
    for given in (None, "", "  "):
        settings = make(identity=given, mesh=None)
        assert (settings.mesh, settings.keys.texts) == ("lab", (lab.key,))
    monkeypatch.setenv("MESH_IDENTITY", "")
    assert make().keys.identity is None
    with pytest.raises(ConfigError, match="cannot read /nowhere"):
        make(identity="/nowhere", mesh=None)


@pytest.mark.parametrize(
    ("given", "environment", "match"),
    [
        ({"key": "words"}, {}, "a key are both given"),
        ({"key": 7}, {}, "a key are both given"),
        ({"mesh": "other"}, {}, "for the mesh 'lab', and 'other'"),
        ({}, {"MESH_NAME": "other"}, "MESH_IDENTITY is for the mesh 'lab', and 'other'"),
        ({}, {"MESH_KEY": "words"}, "MESH_IDENTITY and a key"),
    ],
)
def test_what_contradicts_an_identity_is_refused(
    lab: IdentityFile,
    monkeypatch: pytest.MonkeyPatch,
    given: dict[str, Any],
    environment: dict[str, str],
    match: str,
) -> None:
    if not environment:
        with pytest.raises(ConfigError, match=match):
            make(identity=lab, **{"mesh": None} | given)
    for name, value in (environment | {"MESH_IDENTITY": str(lab.path)}).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=match):
        make(**{"mesh": None} | given)


def test_an_identity_that_no_node_would_take_is_refused_at_once(
    lab: IdentityFile, tmp_path: Path
) -> None:
    authority = Authority.open(tmp_path / "ca")
    old = authority.issue("old", lab.node_key, days=1, now=1e9)
    with pytest.raises(ConfigError, match="expired on 2001-09-10"):
        make(identity=replace(lab, certificate=old), mesh=None)
    with pytest.raises(ConfigError, match="revoked"):
        make(identity=lab.with_revocations(authority.revoke("calc")), mesh=None)


@pytest.mark.parametrize("identity", [7, b"path", object()])
def test_what_is_no_identity_is_refused(identity: Any) -> None:
    with pytest.raises(ConfigError, match="identity="):
        make(identity=identity)


@pytest.mark.parametrize(
    ("given", "variable", "meant"),
    [
        (None, "", None),
        (None, "1", True),
        (None, "off", False),
        (True, "0", True),
        (False, "1", False),
    ],
)
def test_tracing_is_the_argument_else_the_environment(
    given: Any, variable: str, meant: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MESH_TRACING", variable)
    assert make(tracing=given).tracing is meant


def test_tracing_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="TracerProvider"):
        make(tracing="yes")
    monkeypatch.setenv("MESH_TRACING", "perhaps")
    with pytest.raises(ConfigError, match="MESH_TRACING"):
        make()
