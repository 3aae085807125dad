"""The mesh's key and profiles on the command line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import mesh
from tests.net.inside import Inside, inside, without_multicast
from tests.net.test_cli import is_one_line

__all__ = ["inside", "without_multicast"]

KEY = "some words"
HERE = ("--host", "127.0.0.1")


@pytest.fixture
def vault(make_node: Callable[..., mesh.Node]) -> mesh.Node:
    node = make_node("vault", key=KEY, host="127.0.0.1", instance="vault-1")
    node.member("vaults")(lambda message: None)

    @node.rpc("key")
    def key_of(request: mesh.Request) -> object:
        return request.key

    return node.start()


def test_the_key_itself_stands_on_either_side_of_a_command(
    inside: Inside, vault: mesh.Node
) -> None:
    for words in (("--key", "a guess", "peers", "--key", KEY), ("--key", KEY, "peers")):
        (peer,) = inside(*words, *HERE, "--json").json
        assert peer["id"] == vault.id


def test_after_call_and_groupcast_the_key_is_the_one_whose_owner_is_meant(
    inside: Inside, vault: mesh.Node
) -> None:
    assert inside("--key", KEY, "call", *HERE, "--key", "user:7", "vault.key").out == "user:7\n"
    done = inside("--key", KEY, "groupcast", *HERE, "--key", "user:7", "vaults", "1", "--json")
    assert done.json["key"] == "user:7"
    assert done.json["acknowledged"]
    done = inside("call", "--key", KEY, "vault.key", "--timeout", "1.5")
    assert done.code == 1
    assert is_one_line(done.err)
    assert "the mesh's key goes before 'call'" in done.err


def test_a_key_and_a_key_file_are_one_too_many(inside: Inside) -> None:
    for words in (
        ("--key", "a", "peers", "--key-file", "b"),
        ("--key", "a", "--key-file", "b", "call", "a.b"),
    ):
        done = inside(*words)
        assert done.code == 2
        assert is_one_line(done.err)
        assert "--key and --key-file are both given" in done.err


def test_a_profile_says_where_and_with_what(
    inside: Inside, vault: mesh.Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "config.toml"
    config.write_text(
        f'[profile.vault]\nmesh = "{vault.mesh}"\nkey_file = "vault.key"\nhost = "127.0.0.1"\n'
        "[profile.bare]\n"
    )
    key_file = tmp_path / "vault.key"
    key_file.write_text(KEY)
    monkeypatch.setenv("MESH_CONFIG", str(config))
    monkeypatch.delenv("MESH_NAME")
    key_file.chmod(0o644)
    done = inside("peers", "--profile", "vault", "--json")
    assert [peer["id"] for peer in done.json] == [vault.id]
    assert done.err == (
        f"meshctl: {key_file} holds the mesh's key and others can read it: chmod 600 {key_file}\n"
    )
    done = inside("peers", "--profile", "valut")
    assert (done.code, done.out) == (2, "")
    assert is_one_line(done.err)
    assert "no profile 'valut'; its profiles: bare, vault" in done.err
    config.write_text("[profile.vault]\nsead = 1\n")
    done = inside("peers")
    assert done.code == 2
    assert done.err == (
        f"meshctl: {config}: profile vault: unknown key 'sead'; did you mean seeds?\n"
    )


def test_a_timeout_may_be_nothing_or_huge(
    inside: Inside, make_node: Callable[..., mesh.Node]
) -> None:
    node = make_node("calc").start()
    node.rpc("add")(lambda a, b: a + b)
    for words in (("call", "calc.add", "1", "2"), ("ping", "--count", "1")):
        assert inside(*words, "--timeout", "1e300").code == 0
    done = inside("call", "calc.add", "1", "2", "--timeout", "0")
    assert done.code == 1
    assert is_one_line(done.err)
    done = inside("peers", "--timeout", "0")
    assert done.code == 0
    assert "calc" in done.out or "--timeout gives them longer" in done.err


def test_on_the_network_without_a_key_the_advice_names_options(inside: Inside) -> None:
    done = inside("peers", "--host", "0.0.0.0")
    assert done.code == 2
    assert "give --key-file FILE, or say --insecure" in done.err
