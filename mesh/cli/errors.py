"""Exit codes, and errors as one line that says what to do."""

from __future__ import annotations

import click

import mesh
from mesh.cli.text import printable

__all__ = [
    "FAILED",
    "INTERRUPTED",
    "OK",
    "WRONG_USAGE",
    "code_of",
    "complain",
    "note",
    "one_line",
    "plain",
]

OK = 0
FAILED = 1
WRONG_USAGE = 2
INTERRUPTED = 130

_ADVICE: tuple[tuple[type[mesh.MeshError], str], ...] = (
    (mesh.NoProvider, "'meshctl services' lists what there is"),
    (mesh.CallTimeout, "--timeout gives it longer"),
    (
        mesh.PeerLost,
        "'meshctl peers' lists who is here; call --retry tries others, if it may run twice",
    ),
    (mesh.BadRequest, "arguments are JSON or text, name=value is a keyword"),
    (mesh.Overloaded, "try again later"),
)
"""What to do about an error whose own text cannot know that it is shown in a terminal."""

_SPELLED = (
    ("key='some words'", "--key-file FILE"),
    ("insecure=True", "--insecure"),
    ("identity= ", "--identity "),
)
"""Settings as the API's errors spell them, and as a command line does."""


def one_line(error: Exception) -> str:
    """The error as text for people, on one line and without control characters."""
    if isinstance(error, click.UsageError):
        command = error.ctx.command_path if error.ctx is not None else "meshctl"
        text = f"{error.format_message().rstrip('.')}; see '{command} --help'"
    elif isinstance(error, click.ClickException):
        text = error.format_message()
    elif isinstance(error, OSError) and not isinstance(error, mesh.MeshError):
        where = f"{error.filename}: " if error.filename else ""
        text = f"{where}{error.strerror or error}"
    else:
        text = str(error) or type(error).__name__
        if isinstance(error, mesh.ConfigError):
            for in_code, here in _SPELLED:
                text = text.replace(in_code, here)
        for kind, advice in _ADVICE:
            if isinstance(error, kind):
                text = f"{text}; {advice}"
                break
    return printable(" ".join(text.split()))


def plain(error: Exception) -> str:
    """The error's own text on one line, without advice: for lists in which it is one of many."""
    return printable(" ".join((str(error) or type(error).__name__).split()))


def code_of(error: Exception) -> int:
    """The exit code an error ends with."""
    wrong_usage = (click.UsageError, mesh.BadName, mesh.ConfigError)
    return WRONG_USAGE if isinstance(error, wrong_usage) else FAILED


def complain(line: str) -> None:
    """An error, on stderr."""
    click.echo(f"meshctl: {line}", err=True)


def note(line: str) -> None:
    """Something to know that is neither the result nor an error, on stderr."""
    click.echo(f"meshctl: {printable(line)}", err=True)
