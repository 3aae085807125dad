"""The README, executed: its programs print what its transcripts show, its commands exist.

So are the pages on groupcast, on discovery, on surveys and on testing, each in a mesh of its own.

A ``python`` block is a program; its first line names its file. A ``console`` block is the
transcript of a terminal: the command, and what it prints. They run in their order, each in a
process of its own, in one mesh. A program that ends with ``node.run()`` stays up until the end,
unless the last line of its transcript is what a shell says of one that was killed.

Surprise: the lines of such a program are compared without their order, because messages to
different subscriptions are handled side by side.
"""

from __future__ import annotations

import importlib
import os
import re
import shlex
import signal
import subprocess
import sys
import tomllib
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import mesh
from mesh.cli.app import meshctl
from tests.net.processes import until

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = {
    name: (ROOT / name).read_text(encoding="utf-8")
    for name in (
        "README.md",
        "docs/index.md",
        "docs/groupcast.md",
        "docs/discovery.md",
        "docs/streams.md",
        "docs/surveys.md",
        "docs/ownership.md",
        "docs/testing.md",
        "docs/tracing.md",
        "docs/tutorial.md",
    )
}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))

PROGRAM_END = 30.0
"""Seconds for one program, start of the interpreter included, on a machine under load."""

PLAIN_RUN = "node.run()"
KILLED = "Killed"
"""What a shell says of a program that ended by ``kill -9``."""
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(language: str, page: str = README) -> list[str]:
    return [body for found, body in FENCE.findall(page) if found == language]


def programs(page: str) -> dict[str, str]:
    """File name -> program."""
    found = {}
    for body in blocks("python", page):
        name = re.match(r"# ([\w.]+\.py)\n", body)
        assert name, f"the first line of a program names its file: {body[:40]!r}"
        found[name[1]] = body
    return found


@dataclass(frozen=True)
class Transcript:
    file: str
    output: str
    arguments: tuple[str, ...] = ()

    @property
    def command(self) -> list[str]:
        return [self.file, *self.arguments]


def transcripts(page: str) -> list[Transcript]:
    found = []
    for body in blocks("console", page):
        command, _, output = body.partition("\n")
        match = re.fullmatch(r"\$ python (\w+\.py)((?: \w+)*)", command)
        assert match, f"a transcript begins with one command: {command!r}"
        found.append(Transcript(match[1], output, tuple(match[2].split())))
    return found


def is_service(program: str) -> bool:
    return PLAIN_RUN in program.splitlines()[-1]


def meshctl_lines() -> list[list[str]]:
    """The arguments of each line of the block that shows ``meshctl``."""
    lines = [line for body in blocks("sh") for line in body.splitlines()]
    words = [shlex.split(line, comments=True) for line in lines]
    return [parts[1:] for parts in words if parts and parts[0] == "meshctl"]


class Terminal:
    """One process of the tour, stopped by its own handle."""

    def __init__(
        self,
        arguments: list[str],
        folder: Path,
        environment: dict[str, str],
        stdin: int = subprocess.DEVNULL,
    ) -> None:
        self._output = folder / f"{uuid.uuid4().hex}.out"
        self._errors = self._output.with_suffix(".err")
        with self._output.open("wb") as output, self._errors.open("wb") as errors:
            self._process = subprocess.Popen(
                [sys.executable, *arguments],
                cwd=folder,
                env=environment,
                stdin=stdin,
                stdout=output,
                stderr=errors,
            )

    @property
    def output(self) -> str:
        return self._output.read_text(encoding="utf-8")

    @property
    def errors(self) -> str:
        return self._errors.read_text(encoding="utf-8")

    def wait_for_lines(self, count: int) -> None:
        until(lambda: len(self.output.splitlines()) >= count, what=f"{count} lines of output")

    def wait(self) -> int:
        return self._process.wait(PROGRAM_END)

    def stop(self) -> int:
        """What Ctrl-C or a service manager does."""
        self._process.send_signal(signal.SIGTERM)
        return self.wait()

    def end(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()


class Tour:
    """A mesh of its own in which a page's programs run."""

    def __init__(self, folder: Path, page: str) -> None:
        self._folder = folder
        self.mesh = f"readme-{uuid.uuid4().hex[:16]}"
        kept = {k: v for k, v in os.environ.items() if not k.startswith("MESH_")}
        # MESH_HOST keeps the programs that go on the network, with a key, on this machine.
        self._environment = kept | {
            "MESH_NAME": self.mesh,
            "MESH_HOST": "127.0.0.1",
            "MESH_CONFIG": os.devnull,
            "PYTHONPATH": str(ROOT),
            "PYTHONUNBUFFERED": "1",
        }
        self._terminals: list[Terminal] = []
        self._services: list[tuple[Terminal, Transcript]] = []
        self.eye = mesh.Node("eye", mesh=self.mesh, observer=True).start()
        for name, program in programs(page).items():
            (folder / name).write_text(program, encoding="utf-8")

    def open(self, arguments: list[str], stdin: int = subprocess.DEVNULL) -> Terminal:
        terminal = Terminal(arguments, self._folder, self._environment, stdin)
        self._terminals.append(terminal)
        return terminal

    def serve(self, transcript: Transcript) -> None:
        """Start a program that stays, and wait until others can find it."""
        self._services.append((self.open(transcript.command), transcript))
        name = Path(transcript.file).stem
        count = sum(Path(other.file).stem == name for _, other in self._services)
        self.eye.wait_for(name, count=count, timeout=PROGRAM_END)

    def run(self, transcript: Transcript) -> None:
        terminal = self.open(transcript.command)
        assert terminal.wait() == 0, terminal.errors
        assert terminal.output == transcript.output, terminal.errors

    def finish(self) -> None:
        """Stop the programs that stay; each has printed what its transcript shows."""
        for terminal, transcript in self._services:
            wanted = transcript.output.splitlines()
            if wanted[-1:] == [KILLED]:
                del wanted[-1]
                assert terminal.wait() == -signal.SIGKILL, terminal.errors
            else:
                terminal.wait_for_lines(len(wanted))
                assert terminal.stop() == 0, terminal.errors
            assert Counter(terminal.output.splitlines()) == Counter(wanted)

    def close(self) -> None:
        for terminal in self._terminals:
            terminal.end()
        self.eye.close()


@pytest.fixture
def page() -> str:
    return README


@pytest.fixture
def tour(tmp_path: Path, page: str) -> Iterator[Tour]:
    tour = Tour(tmp_path, page)
    yield tour
    tour.close()


@pytest.mark.parametrize("page", PAGES.values(), ids=PAGES)
def test_the_tour_prints_what_it_shows(tour: Tour, page: str) -> None:
    texts = programs(page)
    for transcript in transcripts(page):
        if is_service(texts[transcript.file]):
            tour.serve(transcript)
        else:
            tour.run(transcript)
    tour.finish()


@pytest.mark.parametrize("page", PAGES.values(), ids=PAGES)
def test_each_program_has_a_transcript(page: str) -> None:
    assert set(programs(page)) == {transcript.file for transcript in transcripts(page)}
    assert programs(page)


def test_the_shown_meshctl_commands_work(tour: Tour) -> None:
    tour.serve(Transcript("calc.py", ""))
    tour.serve(Transcript("worker.py", ""))
    lines = meshctl_lines()
    assert lines
    for arguments in lines:
        name, *rest = arguments
        meshctl.commands[name].make_context(name, list(rest))
        if name in ("sub", "tap"):
            continue  # ends with Ctrl-C only: tests/net/test_cli.py, tests/net/test_traces.py
        if name == "iterate":
            continue  # of a service that has gone: tests/net/test_cli_iterate.py
        if name in ("ca", "invite", "join", "revoke", "rotate"):
            continue  # takes two machines, or changes this one: tests/net, tests/multihost
        terminal = tour.open(["-m", "mesh.cli", *arguments])
        assert terminal.wait() == 0, terminal.errors
        if name == "call":
            assert terminal.output == "5\n"
        elif name == "groupcast":
            assert terminal.output.startswith("sent to worker/")
        elif name in ("peers", "owner"):
            assert "calc" in terminal.output
    tour.finish()


def shell_line(ending: str) -> list[list[str]]:
    """The words of each command of the one README line that ends like this."""
    (line,) = [line for body in blocks("sh") for line in body.splitlines() if line.endswith(ending)]
    return [shlex.split(command) for command in line.split(" && ")]


def test_the_first_command_installs_and_runs_the_demo() -> None:
    venv, install, demo = shell_line("meshctl demo")
    assert venv == ["python3", "-m", "venv", ".venv"]
    assert install == [".venv/bin/pip", "install", "."]
    assert demo == [".venv/bin/meshctl", "demo"]
    module, _, function = PROJECT["project"]["scripts"]["meshctl"].partition(":")
    assert callable(getattr(importlib.import_module(module), function))
    meshctl.commands["demo"].make_context("demo", [])


def test_the_second_command_is_what_ci_runs() -> None:
    install, test = shell_line("pytest")
    assert install == [".venv/bin/pip", "install", "-e", ".[test]"]
    assert test == [".venv/bin/pytest"]
    assert any(
        need.startswith("pytest>") for need in PROJECT["project"]["optional-dependencies"]["test"]
    )
    ci = [shlex.split(line, comments=True) for line in (ROOT / ".ci/run").read_text().splitlines()]
    assert any(words[:2] == ["pip", "install"] and words[-2:] == ["-e", ".[test]"] for words in ci)
    assert any(words[-1:] == ["pytest"] for words in ci)


def test_each_file_the_readme_links_to_exists() -> None:
    links = re.findall(r"\]\(([^)]+)\)", README)
    assert links
    assert [link for link in links if "://" not in link and not (ROOT / link).exists()] == []
