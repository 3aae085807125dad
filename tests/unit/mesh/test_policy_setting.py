"""The policy as a setting of a node: given, from the environment, or wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import mesh
from mesh.settings import check_has_identity
from tests.unit.mesh.test_settings import make

RULE = '[[rule]]\nname = "all"\nwho = ["*"]\nallow.call = [">"]\n'


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "policy.toml"
    path.write_text(RULE, encoding="utf-8")
    return path


@pytest.fixture(autouse=True)
def _without_a_policy_around(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MESH_POLICY", raising=False)


def test_without_one_there_is_none() -> None:
    assert make().policy is None
    assert make(policy=" ").policy is None


def test_a_policy_is_given_as_it_is_or_as_its_file(file: Path) -> None:
    policy = mesh.Policy()
    assert make(policy=policy).policy is policy
    for given in (file, str(file)):
        loaded = make(policy=given).policy
        assert loaded is not None
        assert [rule.name for rule in loaded.rules] == ["all"]


def test_the_environment_names_a_file_and_the_argument_goes_first(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MESH_POLICY", str(file))
    loaded = make().policy
    assert loaded is not None
    assert len(loaded.rules) == 1
    assert make(policy=mesh.Policy()).policy is not loaded
    monkeypatch.setenv("MESH_POLICY", "")
    assert make().policy is None


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        (7, "give the path of a policy file"),
        ("/nowhere/policy.toml", "cannot be read"),
    ],
)
def test_what_is_no_policy_is_refused(policy: Any, message: str) -> None:
    with pytest.raises(mesh.ConfigError, match=message):
        make(policy=policy)


def test_a_policy_needs_an_identity() -> None:
    alice = mesh.Identity("alice", frozenset())
    check_has_identity(None, None)
    check_has_identity(None, alice)
    check_has_identity(mesh.Policy(), alice)
    with pytest.raises(mesh.ConfigError, match="give identity=, see 'meshctl join'"):
        check_has_identity(mesh.Policy(), None)


def test_a_node_that_has_none_does_not_start(file: Path) -> None:
    with (
        pytest.raises(mesh.ConfigError, match="a policy needs identities"),
        mesh.Node("calc", policy=file, discovery=()),
    ):
        pass
