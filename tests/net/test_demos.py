"""Every command of ``demos/README.md`` is run, and prints what the page shows.

Lines are compared without their order: nodes print side by side. What is a matter of chance or of
time is taken out of both sides first.
"""

from __future__ import annotations

import ast
import io
import re
import shlex
import signal
import tokenize
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import mesh
from tests.net.processes import ROOT, Script, until

PAGE = (ROOT / "demos/README.md").read_text(encoding="utf-8")
TUTORIALS = sorted(path for path in (ROOT / "demos/tutorials").glob("[a-z]*.py"))
MAX_LINES, MAX_SCREEN = 20, 40

ROLES = {
    "hello": ("receive", "send"),
    "work": ("quick", "slow", "boss"),
    "fanout": ("ana", "ben", "cleo", "publish"),
    "routing": ("pager", "screen", "archive", "app"),
    "topics": ("kitchen", "heating", "archive", "sensors"),
    "rpc": ("serve", "call"),
    "confirms": ("ana", "ben", "send"),
    "jobs": ("mailer", "shop"),
}
"""All roles of each tutorial; the last one begins, and ends by itself."""

NODES = {"receive": "receiver", "serve": "calc"}
"""The nodes of roles whose name is another."""

RUN_SECONDS = 100.0
"""For one demo, on a machine under load."""

CHANCE = {
    r"^(quick|slow): (?=job)": "",  # which of them did it
    r"\d+ of 12 by the slow one": "some by the slow one",
    r"\b(ana|ben)\b(?=$|: door)": "one",  # who is asked first
    r"^\d+ (?=are sent,|were begun)": "some ",  # what the one that is killed has in its hands
    r"\d+\.\d\d s\b": "a moment",  # how long calls of the counter waited
    r" +": " ",
}


def transcripts() -> dict[str, str]:
    """Command -> what it prints."""
    blocks = re.findall(r"^```console\n\$ (.*)\n((?:.*\n)*?)```$", PAGE, flags=re.MULTILINE)
    return dict(blocks)


def lines_of(output: str) -> list[str]:
    for pattern, text in CHANCE.items():
        output = re.sub(pattern, text, output, flags=re.MULTILINE)
    return sorted(filter(None, map(str.strip, output.splitlines())))


@pytest.fixture
def start() -> Iterator[Callable[..., Script]]:
    """Starts a command line in a mesh of that name; all end with the test."""
    scripts: list[Script] = []

    def begin(command: str, mesh_name: str) -> Script:
        python, *arguments = shlex.split(command)
        assert python == "python"
        scripts.append(Script(arguments, {"MESH_NAME": mesh_name}))
        return scripts[-1]

    yield begin
    for script in scripts:
        script.end()


def output_of(script: Script) -> str:
    output, _ = script.process.communicate(timeout=RUN_SECONDS)
    assert script.process.returncode == 0, script.errors
    return str(output)


def test_every_demo_of_the_page_prints_what_it_shows(start: Callable[..., Script]) -> None:
    shown = {command: text for command, text in transcripts().items() if len(command.split()) == 3}
    assert set(shown) == {
        "python -m demos.counter",
        "python -m demos.mailer",
        *(f"python -m demos.tutorials.{path.stem}" for path in TUTORIALS),
    }
    printed: dict[str, str] = {}
    for is_tutorial in (True, False):  # those of several processes would be in the others' way
        commands = [command for command in shown if ("tutorials" in command) is is_tutorial]
        running = {command: start(command, f"test-{uuid.uuid4().hex}") for command in commands}
        printed |= {command: output_of(script) for command, script in running.items()}
    assert {command: lines_of(text) for command, text in printed.items()} == {
        command: lines_of(text) for command, text in shown.items()
    }
    by_slow = re.search(r"(\d+) of 12 by the slow one", printed["python -m demos.tutorials.work"])
    assert by_slow
    assert int(by_slow[1]) < 6


@pytest.mark.parametrize(
    "name",
    ["hello", *(pytest.param(name, marks=pytest.mark.slow) for name in ROLES if name != "hello")],
)
def test_the_roles_print_the_same_in_processes_of_their_own(
    name: str, start: Callable[..., Script], mesh_name: str
) -> None:
    command = f"python -m demos.tutorials.{name}"
    *listening, first = ROLES[name]
    with mesh.Node(mesh=mesh_name, observer=True) as observer:
        listeners = [start(f"{command} {role}", mesh_name) for role in listening]
        until(lambda: len(observer.peers()) == len(listeners), RUN_SECONDS, "all who listen")
        printed = output_of(start(f"{command} {first}", mesh_name))
        left = len(listeners) - (name == "confirms")  # there one has closed itself, and ends
        until(lambda: len(observer.peers()) == left, RUN_SECONDS, "those who stay")
        here = {peer.name for peer in observer.peers()}
    for role, script in zip(listening, listeners, strict=True):
        if NODES.get(role, role) in here:
            script.signal(signal.SIGTERM)  # run() handles first what has come
        printed += output_of(script)
    assert lines_of(printed) == lines_of(transcripts()[command])


def test_the_roles_on_the_page_print_what_they_show() -> None:
    shown = transcripts()
    whole = shown["python -m demos.tutorials.hello"]
    roles = [shown[f"python -m demos.tutorials.hello {role}"] for role in ROLES["hello"]]
    assert "".join(roles) == whole


def test_the_page_lists_all_demos() -> None:
    listed = re.findall(r"^\| [^|]+ \| `python -m (demos[\w.]+)", PAGE, flags=re.MULTILINE)
    tutorials = {f"demos.tutorials.{path.stem}" for path in TUTORIALS}
    assert set(listed) == tutorials | {"demos.counter", "demos.mailer", "demos.chat"}
    assert set(ROLES) == {path.stem for path in TUTORIALS}
    links = re.findall(r"\]\(([^)#]+)", PAGE)
    assert [link for link in links if not (ROOT / "demos" / link).exists()] == []


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_a_tutorial_is_at_most_twenty_lines_of_code_and_one_screen(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    docstring = ast.parse(source).body[0]
    assert docstring.end_lineno
    skipped = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT)
    code = {
        line
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type not in (*skipped, tokenize.ENDMARKER)
        for line in range(token.start[0], token.end[0] + 1)
        if line > docstring.end_lineno
    }
    assert 0 < len(code) <= MAX_LINES
    assert len(source.splitlines()) <= MAX_SCREEN


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_the_commands_in_a_tutorial_are_of_its_roles(path: Path) -> None:
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    commands = re.findall(rf"^python -m demos\.tutorials\.{path.stem}\b *(\w*)", docstring, re.M)
    assert commands[0] == ""
    assert commands[-1] == ROLES[path.stem][-1]
    assert set(commands[1:]) <= set(ROLES[path.stem])
