"""Completion: what is offered, and that real shells take it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from click.shell_completion import ShellComplete

import mesh
from mesh.cli.app import meshctl
from mesh.cli.commands.completion import VARIABLE
from tests.net.inside import Inside, inside, without_multicast
from tests.net.test_cli import RUN_SECONDS

__all__ = ["inside", "without_multicast"]

MakeNode = Callable[..., mesh.Node]

WITHIN = 1.0 * 10
"""Seconds that a person waits for a completion, with ten times the time for a busy machine."""


def offered(*words: str) -> list[str]:
    """What is offered for the last word."""
    complete = ShellComplete(meshctl, {}, "meshctl", VARIABLE)
    return [item.value for item in complete.get_completions(list(words[:-1]), words[-1])]


@pytest.fixture
def calc(
    make_node: MakeNode,
    mesh_name: str,
    without_multicast: None,
    monkeypatch: pytest.MonkeyPatch,
) -> mesh.Node:
    monkeypatch.setenv("MESH_NAME", mesh_name)
    node = make_node("calc")
    node.rpc("add")(lambda a, b: a + b)
    node.rpc("mul")(lambda a, b: a * b)
    node.member("crew")(lambda message: None)
    return node.start()


def test_what_is_in_the_mesh_is_offered(calc: mesh.Node, monkeypatch: pytest.MonkeyPatch) -> None:
    began = time.monotonic()
    assert offered("call", "calc.a") == ["calc.add"]
    assert time.monotonic() - began < WITHIN
    assert offered("bench", "rpc", "calc.m") == ["calc.mul"]
    assert offered("ping", "") == ["calc"]
    assert offered("groupcast", "") == ["crew"]
    monkeypatch.delenv("MESH_NAME")
    assert offered("--mesh", calc.mesh, "owner", "c") == ["calc"], "the options on the line count"


def test_replicas_are_offered_by_their_ids(calc: mesh.Node, make_node: MakeNode) -> None:
    other = make_node("calc").start()
    assert sorted(offered("call", "calc.add", "--peer", "")) == sorted(
        ["calc", calc.id[:8], other.id[:8]]
    )


def test_profiles_and_what_is_written_down_is_offered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "config.toml"
    config.write_text("[profile.lab]\n[profile.home]\n")
    monkeypatch.setenv("MESH_CONFIG", str(config))
    assert offered("peers", "--profile", "") == ["home", "lab"]
    assert offered("--profile", "l") == ["lab"]
    assert offered("call", "--re") == ["--retry"]
    assert offered("completion", "z") == ["zsh"]
    assert "peers" in offered("p")
    assert offered("bench", "") == ["rpc", "pubsub", "groupcast", "serve"]
    assert offered("bench", "pubsub", "--sub") == ["--subscribers", "--subjects"]


@pytest.mark.parametrize(
    "words",
    [
        ("--key-file", "/nowhere", "ping", ""),
        ("--key", "a", "--key-file", "b", "ping", ""),
        ("--mesh", "bad name", "ping", ""),
        ("--host", "0.0.0.0", "call", ""),
        ("--profile", "nowhere", "groupcast", ""),
    ],
)
def test_nothing_is_offered_and_nothing_said_where_something_is_wrong(
    words: tuple[str, ...], capfd: pytest.CaptureFixture[str]
) -> None:
    assert offered(*words) == []
    assert capfd.readouterr() == ("", "")


# Real shells


def run(shell: str, script: str, folder: Path, mesh_name: str) -> str:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        [shell, *(["--norc"] if shell == "bash" else ["-f"] if shell == "zsh" else ["-N"])],
        input=script,
        env=os.environ | {"PATH": path, "MESH_NAME": mesh_name, "HOME": str(folder)},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=RUN_SECONDS,
        check=False,
    )
    assert done.stderr == ""
    return done.stdout


def test_bash_takes_the_script(calc: mesh.Node, tmp_path: Path) -> None:
    script = """
eval "$(meshctl completion bash)"
complete -p meshctl
COMP_WORDS=(meshctl call calc.); COMP_CWORD=2
_meshctl_completion meshctl calc. call
printf '%s\\n' "${COMPREPLY[@]}"
"""
    registered, *words = run("bash", script, tmp_path, calc.mesh).splitlines()
    assert registered.endswith("-F _meshctl_completion meshctl")
    assert words == ["calc.add", "calc.mul"]


def test_zsh_takes_the_script(calc: mesh.Node, tmp_path: Path) -> None:
    """On a terminal, as zsh completes nowhere else: what Tab makes of a line is what counts."""
    script = """
zmodload zsh/zpty
zpty shell zsh -f
zpty -w shell 'PS1= ; unsetopt zle_bracketed_paste; autoload -Uz compinit; compinit -u'
zpty -w shell 'eval "$(meshctl completion zsh)"; print begun'
zpty -r shell line '*begun*begun*'
zpty -n -w shell $'meshctl call calc.a\\t 2 3; print -r -- en""ded\\n'
zpty -r shell line '*ended*'
print -r -- $line
zpty -d shell
"""
    shown = run("zsh", script, tmp_path, calc.mesh).split()
    assert "5" in shown, f"calc.a became calc.add, which was called: {shown}"


@pytest.mark.slow
def test_fish_takes_the_script(calc: mesh.Node, tmp_path: Path) -> None:
    script = """
meshctl completion fish | source
complete -C 'meshctl call calc.'
"""
    assert run("fish", script, tmp_path, calc.mesh).split() == ["calc.add", "calc.mul"]


def test_no_other_shell_is_known(inside: Inside) -> None:
    assert inside("completion", "tcsh").code == 2
    assert inside("completion").code == 2
