"""What would be used on a machine, where it comes from, and what is wrong with it."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mesh.cli.configured import KNOWN, PROBLEM, WARNING, Report, check
from mesh.cli.options import Options

KEY = "a key that is long enough"
ROOT = Path(__file__).parents[4]

Look = Callable[..., Report]


@pytest.fixture
def look(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Look:
    """Checks options with these variables and this config file, and nothing else of the machine."""
    for name in [name for name in os.environ if name.startswith("MESH_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))

    def look(options: dict[str, Any] | None = None, **variables: str) -> Report:
        look_up = variables.pop("look_up", None)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        environment = {name: text for name, text in os.environ.items() if name.startswith("MESH_")}
        return check(Options(**(options or {})), environment, look_up)  # type: ignore[arg-type]

    return look


@pytest.fixture
def config(tmp_path: Path) -> Callable[[str], Path]:
    def write(text: str) -> Path:
        path = tmp_path / "mesh/config.toml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        path.chmod(0o600)
        return path

    return write


def value(report: Report, name: str) -> tuple[str, str]:
    (one,) = [one for one in report.values if one.name == name]
    return one.value, one.origin


def found(report: Report, level: str) -> list[str]:
    return [f"{one.where}: {one.text}" for one in report.findings if one.level == level]


def test_with_nothing_set_it_is_the_defaults_and_right(look: Look) -> None:
    report = look()
    assert report.is_right
    assert value(report, "mesh") == ("mesh", "default")
    assert value(report, "key") == ("(none)", "default")
    assert value(report, "host") == ("127.0.0.1, as there is no key", "default")
    assert value(report, "timeout") == ("5", "default")


def test_the_option_goes_before_the_variable_and_that_before_the_profile(
    look: Look, config: Callable[[str], Path]
) -> None:
    config('default_profile = "lab"\n[profile.lab]\nmesh = "one"\ntimeout = 2.5\n'
           f'key = "{KEY}"\nseeds = ["10.0.0.7:5555"]\n')  # fmt: skip
    report = look()
    assert report.is_right
    assert value(report, "profile") == ("lab", "default_profile")
    assert value(report, "mesh") == ("one", "profile lab")
    assert value(report, "seeds") == ("10.0.0.7:5555", "profile lab")
    assert value(report, "timeout") == ("2.5", "profile lab")
    assert value(report, "host") == ("every interface", "default")
    assert value(look(MESH_NAME="two"), "mesh") == ("two", "MESH_NAME")
    assert value(look({"mesh_name": "three"}), "mesh") == ("three", "--mesh")


def test_a_secret_is_never_shown(look: Look, config: Callable[[str], Path]) -> None:
    config(f'[profile.lab]\nkey = "{KEY}"\n')
    for report in (look({"mesh_key": KEY}), look(MESH_KEY=KEY), look(MESH_PROFILE="lab")):
        assert KEY not in repr(report)
        assert re.fullmatch("fingerprint [0-9a-f]{16}", value(report, "key")[0])


def test_a_key_file_is_read_and_its_permissions_are_looked_at(look: Look, tmp_path: Path) -> None:
    path = tmp_path / "lab.key"
    path.write_text(f"{KEY}\n")
    path.chmod(0o600)
    report = look(MESH_KEY_FILE=str(path))
    assert report.is_right
    assert value(report, "key")[1] == f"{path} (MESH_KEY_FILE)"
    path.chmod(0o644)
    assert "chmod 600" in found(look(), PROBLEM)[0]
    path.unlink()
    assert "cannot read the key file" in found(look(), PROBLEM)[0]


def test_a_slip_in_a_variable_is_told_with_what_was_meant(look: Look) -> None:
    report = look(MESH_SEED="10.0.0.1:1", MESH_WEATHER="fine", MESH_HOST=" ")
    assert found(report, PROBLEM) == ["MESH_SEED: nobody reads it; did you mean MESH_SEEDS?"]
    assert sorted(found(report, WARNING)) == [
        "MESH_HOST: it is empty, which is as if it was not set",
        "MESH_WEATHER: nobody here reads it",
    ]


def test_every_variable_that_the_code_reads_is_known() -> None:
    sources = [
        path.read_text(encoding="utf-8")
        for package in ("mesh", "discovery", "patterns")
        for path in (ROOT / package).rglob("*.py")
    ]
    read = set(re.findall(r'"(MESH_[A-Z_]+)"', "".join(sources)))
    assert read - set(KNOWN) == set()


def test_all_profiles_are_checked_not_only_the_one_in_use(
    look: Look, config: Callable[[str], Path]
) -> None:
    path = config(f'[profile.a]\nkey = "{KEY}"\n[profile.b]\nseeds = ["nowhere"]\n'
                  '[profile.c]\nkey_file = "none.key"\n')  # fmt: skip
    path.chmod(0o644)
    problems = found(look(), PROBLEM)
    assert [re.findall(r"profile (\w)", text)[0] for text in problems] == ["a", "b", "c"]
    path.write_text('[profile.a]\nkee = "x"\n')
    assert "did you mean key?" in found(look(), PROBLEM)[0]
    path.write_text("")
    assert "has no profile 'z'" in found(look({"profile_name": "z"}), PROBLEM)[0]


def test_names_among_the_seeds_are_looked_up_only_when_that_is_asked(look: Look) -> None:
    seeds = "10.0.0.1:1,[::1]:2,good.example:3,bad.example:4,_mesh._tcp.example,file:/nowhere"
    asked = []

    def look_up(name: str) -> Any:
        asked.append(name)
        return f"{name}: unknown" if name.startswith("bad") else ("10.1.1.1:3",)

    assert found(look(MESH_SEEDS=seeds), WARNING) == [
        "MESH_SEEDS: seed file:/nowhere: there is no such file yet"
    ]
    report = look(look_up=look_up)  # type: ignore[arg-type]
    assert asked == ["good.example:3", "bad.example:4", "_mesh._tcp.example"]
    assert value(report, "seed good.example:3") == ("10.1.1.1:3", "looked up")
    assert found(report, PROBLEM) == ["MESH_SEEDS: seed bad.example:4: bad.example:4: unknown"]


@pytest.mark.parametrize(
    ("variables", "text"),
    [
        ({"MESH_INSECURE": "perhaps"}, "write 1 or 0"),
        ({"MESH_HOST": "10.0.0.1"}, "there is no key"),
        ({"MESH_ALLOW": "everything"}, "is none of: inspect"),
        ({"MESH_PLAIN": "1,1"}, "need a port each"),
        ({"MESH_NAME": "no such.name"}, "bad mesh name"),
        ({"MESH_SEEDS": "nowhere"}, "has no port"),
        ({"MESH_INTERFACES": "nosuch0"}, "no interface is, or has, that"),
        ({"MESH_POLICY": "/nowhere"}, "/nowhere"),
        ({"MESH_IDENTITY": "/nowhere"}, "/nowhere"),
        ({"MESH_CONFIG": "/nowhere"}, "there is no file"),
    ],
)
def test_what_cannot_work_is_a_problem(look: Look, variables: dict[str, str], text: str) -> None:
    report = look(**variables)
    assert not report.is_right
    assert any(text in problem for problem in found(report, PROBLEM)), report.findings
