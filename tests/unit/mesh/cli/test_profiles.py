"""Profiles: where they are looked for, what they may say, and what goes before them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest

import mesh
from mesh.cli.options import DEFAULT_TIMEOUT, Options
from mesh.cli.profiles import Profile, config_path, load, profile_names

Write = Callable[[str], Path]

LAB = """
default_profile = "lab"

[profile.lab]
mesh = "lab"
key = "some words"
seeds = ["10.0.0.7:5555", "10.0.0.8:5555"]
timeout = 2.5
host = "127.0.0.1"

[profile.open]
insecure = true
timeout = 0
"""


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("NAME", "KEY", "SEEDS", "HOST", "INSECURE", "CONFIG", "PROFILE"):
        monkeypatch.delenv(f"MESH_{name}", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "empty"))


@pytest.fixture
def write(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Write:
    """Writes the config file, for its owner only, and points to it."""

    def write(text: str) -> Path:
        path = tmp_path / "config.toml"
        path.write_text(text)
        path.chmod(0o600)
        monkeypatch.setenv("MESH_CONFIG", str(path))
        return path

    return write


# Where


def test_the_file_is_where_xdg_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert config_path() == tmp_path / "empty/mesh/config.toml"
    for unset in ("", "relative/path"):
        monkeypatch.setenv("XDG_CONFIG_HOME", unset)
        assert config_path() == tmp_path / ".config/mesh/config.toml"
    monkeypatch.setenv("MESH_CONFIG", "~/other.toml")
    assert config_path() == tmp_path / "other.toml"


def test_a_file_that_is_not_there_is_no_error_unless_it_was_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert load(None) == Profile()
    assert profile_names() == []
    with pytest.raises(mesh.ConfigError, match="no profile 'lab'; its profiles: none"):
        load("lab")
    monkeypatch.setenv("MESH_CONFIG", "/nowhere.toml")
    with pytest.raises(mesh.ConfigError, match=r"MESH_CONFIG: there is no file /nowhere\.toml"):
        load(None)
    monkeypatch.setenv("MESH_CONFIG", "/dev/null")  # how to go without the default profile
    assert load(None) == Profile()


# Which


def test_the_option_goes_before_the_variable_and_that_before_the_default(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(LAB)
    assert profile_names() == ["lab", "open"]
    assert load(None).mesh == "lab"
    monkeypatch.setenv("MESH_PROFILE", "open")
    assert load(None) == Profile(insecure=True, timeout=0)
    assert load("lab").mesh == "lab"
    with pytest.raises(mesh.ConfigError, match="no profile 'lad'; its profiles: lab, open"):
        load("lad")


# What goes before what


@pytest.mark.parametrize(
    ("options", "variable", "setting", "given"),
    [
        ({"mesh_name": "opt"}, ("MESH_NAME", "env"), "mesh", ("opt", "env", "lab")),
        ({"host": "::1"}, ("MESH_HOST", "127.0.0.2"), "host", ("::1", "127.0.0.2", "127.0.0.1")),
        ({"mesh_key": "opt"}, ("MESH_KEY", "env"), "key", ("opt", "env", "some words")),
        (
            {"seed": ["opt:1"]},
            ("MESH_SEEDS", "env:1"),
            "seeds",
            (("opt:1",), ("env:1",), ("10.0.0.7:5555", "10.0.0.8:5555")),
        ),
    ],
)
def test_the_option_then_the_environment_then_the_profile(
    write: Write,
    monkeypatch: pytest.MonkeyPatch,
    options: dict[str, Any],
    variable: tuple[str, str],
    setting: str,
    given: tuple[Any, Any, Any],
) -> None:
    write(LAB)

    def made(options: dict[str, Any]) -> Any:
        node = mesh.Node(**Options(**options).settings())  # constructing touches nothing
        settings = node.aio._settings
        return settings.keys.texts[0] if setting == "key" else getattr(settings, setting)

    of_option, of_environment, of_profile = given
    assert made({}) == of_profile
    monkeypatch.setenv(variable[0], variable[1])
    assert made({}) == of_environment
    assert made(options) == of_option
    monkeypatch.setenv(variable[0], "")
    assert made({}) == of_profile, "an empty variable is unset"


def test_insecure_and_the_timeout_have_the_same_order(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(LAB)
    assert Options(profile_name="open").settings()["insecure"] is True
    monkeypatch.setenv("MESH_INSECURE", "0")
    assert Options(profile_name="open").settings()["insecure"] is None, "the node reads it"
    assert Options(profile_name="open", insecure=True).settings()["insecure"] is True
    assert Options().timeout == 2.5
    assert Options(profile_name="open").timeout == 0
    assert Options(seconds=7.0).timeout == 7.0
    monkeypatch.setenv("MESH_CONFIG", "/dev/null")
    assert Options().timeout == DEFAULT_TIMEOUT


# Keys


def test_a_key_file_is_looked_for_beside_the_config(write: Write, tmp_path: Path) -> None:
    write('[profile.a]\nkey_file = "a.key"\n')
    (tmp_path / "a.key").write_text("words of a\n")
    settings = Options(profile_name="a").settings()
    assert (settings["key"], settings["key_file"]) == (None, str(tmp_path / "a.key"))
    assert mesh.Node(**settings).aio._settings.keys.texts == ("words of a",)
    (tmp_path / "a.key").unlink()
    with pytest.raises(click.UsageError, match=rf"cannot read the key file {tmp_path}/a\.key"):
        Options(profile_name="a").settings()


def test_one_key_is_enough(write: Write, tmp_path: Path) -> None:
    with pytest.raises(click.UsageError, match="both given"):
        Options(mesh_key="a", key_file="b").settings()
    with pytest.raises(click.UsageError, match="--key is empty"):
        Options(mesh_key=" ").settings()


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o640])
def test_a_key_that_others_can_read_is_told(
    write: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str], mode: int
) -> None:
    config = write(LAB)
    key_file = tmp_path / "lab.key"
    key_file.write_text("words")
    for path, options in ((config, Options()), (key_file, Options(key_file=str(key_file)))):
        path.chmod(mode)
        options.settings()
        told = capsys.readouterr().err
        assert told.count("\n") == (mode != 0o600)
        assert (f"chmod 600 {path}" in told) == (mode != 0o600)
    config.chmod(0o644)
    Options(profile_name="open").settings()
    assert capsys.readouterr().err == "", "this profile has no key"


# What is wrong


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[profile.a]\nsead = []", r"profile a: unknown key 'sead'; did you mean seeds\?"),
        ("[profile.a]\nxyz = 1", "profile a: unknown key 'xyz'; there are: mesh, key, "),
        ("defualt_profile = 'a'", r"unknown key 'defualt_profile'; did you mean default_profile\?"),
        ("default_profile = 7", "default_profile must be the name"),
        ("default_profile = 'b'", "no profile 'b'"),
        ("profile = 7", r"write \[profile\.NAME\]"),
        ("[profile]\na = 7", r"write \[profile\.NAME\]"),
        ("[profile.a]\nmesh = 7", "profile a: mesh must be a text"),
        ("[profile.a]\nkey = ''", "profile a: key must be a text"),
        ("[profile.a]\nseeds = 'a:1'", "profile a: seeds must be an array"),
        ("[profile.a]\nseeds = [1]", "profile a: seeds must be an array"),
        ("[profile.a]\ntimeout = '5'", "profile a: timeout must be seconds"),
        ("[profile.a]\ntimeout = nan", "profile a: timeout must be seconds"),
        ("[profile.a]\ntimeout = -1", "profile a: timeout must be seconds"),
        ("[profile.a]\ntimeout = true", "profile a: timeout must be seconds"),
        ("[profile.a]\ninsecure = 1", "profile a: insecure must be true or false"),
        ("[profile.a]\nkey = 'a'\nkey_file = 'b'", "profile a: key and key_file are both there"),
        ("profile = ", "is not TOML"),
        ("a = '\udcff'", "is not TOML"),
    ],
)
def test_a_slip_in_the_file_is_told_with_the_file_and_the_key(
    write: Write, tmp_path: Path, text: str, says: str
) -> None:
    path = write("")
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(mesh.ConfigError, match=says) as caught:
        load(None)
    assert str(path) in str(caught.value)


def test_what_no_file_system_and_no_parser_takes_is_told(write: Write) -> None:
    write('[profile.lab]\nkey_file = "a\\u0000b"\n')
    with pytest.raises(mesh.ConfigError, match="key_file must be the path of a file"):
        load("lab")
    write(f"x = {'[' * 100_000}")
    with pytest.raises(mesh.ConfigError, match="is not TOML"):
        load(None)
