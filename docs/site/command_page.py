"""The page on all of ``meshctl``, made from the commands themselves when the site is built.

The man page is made of the same (``mesh.cli.manual``): what help says is said once, in the
commands.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Iterator

import click

from mesh.cli import manual
from mesh.cli.app import meshctl

__all__ = ["command_page"]


def command_page() -> str:
    """The page, in Markdown."""
    return "\n".join(_page(meshctl)) + "\n"


def _page(group: click.Group) -> Iterator[str]:
    yield "# All commands\n"
    yield "Each command with its options, as `meshctl COMMAND --help` has them."
    yield "[meshctl](../meshctl.md) is the guide.\n"
    yield from _prose(f"{group.help}\n\n{manual.DESCRIPTION}")
    yield "## Options of all commands\n"
    yield from _options(group.params)
    for command in group.commands.values():
        yield from _command(command, group, "meshctl", 2)
    yield "## Values\n"
    yield from _prose(manual.VALUES)
    yield "## Exit codes\n"
    yield from _table("code", manual.EXITS)
    yield "## Environment\n"
    yield from _table("variable", manual.ENVIRONMENT)
    yield "## Files\n"
    yield from _prose(manual.FILES)
    yield f"```toml\n{manual.FILES_EXAMPLE}```\n"
    yield "## Examples\n"
    yield from _epilog(group.epilog or "")


def _command(command: click.Command, group: click.Group, path: str, level: int) -> Iterator[str]:
    path = f"{path} {command.name}"
    yield f"{'#' * level} {path}\n"
    arguments = (p for p in command.params if isinstance(p, click.Argument))
    words = ["COMMAND"] if isinstance(command, click.Group) else ["[OPTIONS]"]
    words += (argument.make_metavar(click.Context(command)) for argument in arguments)
    yield f"```text\n{' '.join([path, *words])}\n```\n"
    yield from _prose(inspect.cleandoc(command.help or ""))
    common = {parameter.name for parameter in group.params}
    yield from _options(p for p in command.params if p.name not in common)
    yield from _epilog(command.epilog or "")
    if isinstance(command, click.Group):
        for member in command.commands.values():
            yield from _command(member, group, path, level + 1)


def _options(parameters: Iterable[click.Parameter]) -> Iterator[str]:
    rows = []
    for option in parameters:
        if isinstance(option, click.Option):
            value = "" if option.is_flag or option.metavar is None else f" {option.metavar}"
            rows.append((f"{', '.join(option.opts)}{value}", option.help or ""))
    yield from _table("option", rows)


def _table(title: str, rows: Iterable[tuple[str, str]]) -> Iterator[str]:
    lines = [f"| `{_cell(name)}` | {_text(_cell(text))} |" for name, text in rows]
    if lines:
        yield from (f"| {title} | |", "|---|---|", *lines, "")


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _prose(text: str) -> Iterator[str]:
    for paragraph in re.split(r"\n\s*\n", text.strip()):
        yield _text(" ".join(paragraph.split())) + "\n"


def _epilog(text: str) -> Iterator[str]:
    """Paragraphs, and after click's mark lines to be kept as they are."""
    for paragraph in re.split(r"\n\s*\n", text.strip("\n")):
        head, _, rest = paragraph.partition("\n")
        if head == "\b" or "\n  " in paragraph:
            lines = inspect.cleandoc("\n" + (rest if head == "\b" else paragraph))
            yield f"```text\n{lines}\n```\n"
        elif paragraph.strip():
            yield from _prose(paragraph)


def _text(text: str) -> str:
    """Plain text, of which Markdown must make nothing else."""
    return re.sub(r"([*_<>`\[\]#])", r"\\\1", text)
