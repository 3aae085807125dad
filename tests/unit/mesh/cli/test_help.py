"""What ``meshctl`` says of itself: help, examples, the man page and the page in ``docs``."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from mesh.cli.app import meshctl
from mesh.cli.manual import manual
from tests.unit.mesh.test_import import HEAVY

ROOT = Path(__file__).parents[4]
MAN_PAGE = ROOT / "docs/meshctl.1"
PAGE = (ROOT / "docs/meshctl.md").read_text(encoding="utf-8")
IDENTITIES = (ROOT / "docs/identities.md").read_text(encoding="utf-8")


def commands_of(group: click.Group, path: str = "") -> Iterator[tuple[str, click.Command]]:
    """All commands by their words: a group's members behind the group."""
    for name, command in group.commands.items():
        yield f"{path}{name}", command
        if isinstance(command, click.Group):
            yield from commands_of(command, f"{path}{name} ")


ALL = dict(commands_of(meshctl))
COMMANDS = list(ALL)


def help_of(path: str) -> str:
    context = click.Context(meshctl, info_name="meshctl", terminal_width=80)
    for name in path.split():
        assert isinstance(context.command, click.Group)
        found = context.command.commands[name]
        context = click.Context(found, info_name=name, parent=context, terminal_width=80)
    return context.command.get_help(context)


def lines_of_examples() -> Iterator[str]:
    epilogs = [meshctl.epilog, *(command.epilog for command in ALL.values())]
    for line in "\n".join(text or "" for text in epilogs).splitlines():
        if line.startswith("  meshctl "):
            # A comment stands two blanks or more behind the command.
            yield re.split(r"\s{2,}", line.strip())[0]


def parse(line: str) -> str:
    """Parse an example as a shell and click would; returns the words of its command."""
    words = shlex.split(re.split(r" [|>]", line)[0])[1:]
    context = meshctl.make_context("meshctl", list(words))
    path = []
    while isinstance(context.command, click.Group):
        name, command, rest = context.command.resolve_command(context, _rest_of(context))
        assert command is not None
        path.append(name or "")
        context = command.make_context(name or "", list(rest), parent=context)
    context.close()
    return " ".join(path)


def _rest_of(context: click.Context) -> list[str]:
    # Both names, of click before and since 8.2.
    return [*getattr(context, "_protected_args", []), *context.args]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_examples_and_fits_a_terminal(command: str) -> None:
    text = help_of(command)
    assert "Examples:" in text
    options, _, examples = text.partition("Examples:")
    assert max(map(len, options.splitlines())) <= 80
    assert max(map(len, examples.splitlines())) <= 92


def test_every_command_is_summed_up_in_one_line_of_its_groups_help() -> None:
    for command in COMMANDS:
        *path, name = command.split()
        text = help_of(" ".join(path))
        (line,) = re.findall(rf"^  {name}  .*$", text, flags=re.MULTILINE)
        assert line.endswith("."), line
        assert "..." not in line, line


@pytest.mark.parametrize("line", list(lines_of_examples()))
def test_an_example_is_a_right_command_line(line: str, tmp_path: Path) -> None:
    assert parse(line) in COMMANDS


def test_an_example_that_is_wrong_is_found_out() -> None:
    with pytest.raises(click.UsageError):
        parse("meshctl peers --wacth")


def test_a_command_does_not_import_what_only_others_need() -> None:
    """They start within a person's patience: bench, demo and files are imported when they run, and
    so are the tables, profiles, hints at slips, passwords and mDNS."""
    script = "import sys; from mesh.cli import main\n"
    script += "main(['--version']); main(['--help']); print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    loaded = done.stdout.splitlines()[-1].split()
    assert "mesh.cli.commands.bench" in loaded
    others = {"mesh.cli.bench", "mesh.cli.demo", "mesh.cli.transfer", *HEAVY} - {"click"}
    for package in others:
        assert not any(f"{name}.".startswith(f"{package}.") for name in loaded), package


# The man page


def test_the_man_page_is_up_to_date() -> None:
    made = MAN_PAGE.read_text(encoding="utf-8")
    assert made == manual(meshctl), "python -m mesh.cli.manual > docs/meshctl.1"


@pytest.mark.parametrize(
    "renderer",
    [
        ["mandoc", "-Tutf8", "-Werror", "-O", "width=80"],
        ["groff", "-man", "-ww", "-Tutf8", "-P-c"],
        ["man", "-l"],
    ],
    ids=lambda renderer: renderer[0],
)
def test_the_man_page_renders(renderer: list[str]) -> None:
    if shutil.which(renderer[0]) is None:
        pytest.skip(f"{renderer[0]} is not installed")
    done = subprocess.run([*renderer, MAN_PAGE], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    shown = re.sub(r".\x08|\x1b\[[\d;]*m", "", done.stdout).replace("\u2010", "-")
    for word in (
        "--profile NAME",
        "meshctl ping",
        "jq -r '.[].name'",
        "~/.config/mesh/config.toml",
    ):
        assert word in shown


# The page


@pytest.mark.parametrize("command", COMMANDS)
def test_the_page_has_a_section_for_the_command_that_names_its_options(command: str) -> None:
    (section,) = re.findall(
        rf"^### {command}\n(.*?)(?=^##)", PAGE + "\n##", flags=re.MULTILINE | re.DOTALL
    )
    common = {parameter.name for parameter in meshctl.params}
    for parameter in ALL[command].params:
        if isinstance(parameter, click.Option) and parameter.name not in common:
            assert f"`{parameter.opts[0]}" in section, parameter.opts[0]


def test_the_page_names_the_options_of_all_commands() -> None:
    for parameter in meshctl.params:
        assert f"`{parameter.opts[0]}" in PAGE, parameter.opts[0]


@pytest.mark.parametrize(("page", "least"), [(PAGE, 10), (IDENTITIES, 5)])
def test_the_command_lines_on_a_page_are_right(page: str, least: int) -> None:
    lines = re.findall(r"^ *\$ (?:.* \| )?(meshctl .*?)(?:  +#.*)?$", page, flags=re.MULTILINE)
    assert len(lines) >= least
    for line in lines:
        parse(line)
