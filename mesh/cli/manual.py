"""The man page, made from the commands themselves: ``python -m mesh.cli.manual > docs/meshctl.1``.

What help says is said once, in the commands; the sections that no help has stand here.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Iterator

import click

from mesh.cli.app import meshctl

__all__ = ["manual"]

DESCRIPTION = """\
It joins as an observer: it sees, calls and publishes, and is never given work, but for sub with
--group, expose, receive, work, queue serve, and for the nodes that bench brings. Tables and plain
text are for people, --json for programs: one document, or one per line for what goes on. Errors are
one line on stderr.
"""

VALUES = """\
A value (DATA, an argument of call) is JSON if it parses as JSON, else text: 2, true, null and
{"a": 1} are values, hello is text, and "2" in quotes of JSON is the text 2.

The word - stands for what stdin gives until its end, @PATH for what the file holds, @- for stdin
again, and @@ at the beginning for a literal @. What was read is JSON if it parses, else text
without the last line end. With --text it is text, unchanged; with --binary bytes, unchanged. In a
call the value of name=value follows the same rule.
"""

ENVIRONMENT = (
    ("MESH_NAME, MESH_KEY, MESH_SEEDS, MESH_HOST, MESH_INSECURE", "As the options --mesh, --key, "
     "--seed (several: with blanks or commas between), --host and --insecure. They go before the "
     "profile and after the options. An empty one counts as unset."),
    ("MESH_IDENTITY", "As the option --identity. An identity has the mesh's name and key: another "
     "name, or a key, beside it is an error."),
    ("MESH_PROFILE", "The profile to use, as --profile."),
    ("MESH_CONFIG", "The config file, in place of the one below."),
    ("NO_COLOR", "With any value nothing is bold, dim or coloured. Only top has colours."),
    ("COLUMNS", "The width of tables. Else that of the terminal; into a pipe a row is one line."),
)  # fmt: skip

FILES = """\
$XDG_CONFIG_HOME/mesh/config.toml, else ~/.config/mesh/config.toml. A profile may say mesh, key or
key_file, seeds, timeout, host and insecure; an unknown key is an error. A key_file that is not
absolute is looked for beside the config file. A file with a key should be readable by you alone.

In the same folder are MESH.identity, this machine's identity in the mesh of that name, and ca/MESH,
the authority of that mesh, on the one machine that has it. Both are refused when others can read
them.
"""

FILES_EXAMPLE = """\
default_profile = "lab"

[profile.lab]
mesh = "lab"
key_file = "lab.key"
seeds = ["10.0.0.7:5555"]
timeout = 2.5
"""

EXITS = (
    ("0", "Done. Also when nobody listens to what is published, and when the reader of a pipe "
          "had enough."),
    ("1", "The operation failed; one line on stderr says why and what to do."),
    ("2", "Wrong usage: a bad option, name, key, file or address."),
    ("130", "Ctrl-C, after a goodbye to the mesh; 143 after SIGTERM."),
)  # fmt: skip


def manual(group: click.Group) -> str:
    """The page, in the macros of man(7)."""
    return "\n".join(_page(group)) + "\n"


def _page(group: click.Group) -> Iterator[str]:
    yield '.TH MESHCTL 1 "" mesh "User Commands"'
    yield from _section("NAME", [r"meshctl \- a mesh of nodes from a terminal"])
    synopsis = r".B meshctl", r"[\fIoptions\fR] \fIcommand\fR [\fIarguments\fR]"
    yield from _section("SYNOPSIS", synopsis)
    yield from _section("DESCRIPTION", _prose(f"{group.help}\n\n{DESCRIPTION}"))
    yield from _section(
        "OPTIONS",
        _prose(
            "These stand before or after the command. call and groupcast have a --key of their "
            "own, so there the mesh's key goes before the command."
        ),
    )
    yield from _options(group.params)
    yield ".SH COMMANDS"
    for command in group.commands.values():
        yield from _command(command, group)
    yield from _section("VALUES", _prose(VALUES))
    yield from _section("EXIT STATUS", _list(EXITS))
    yield from _section("ENVIRONMENT", _list(ENVIRONMENT))
    yield from _section("FILES", [*_prose(FILES), *_verbatim(FILES_EXAMPLE)])
    yield from _section("EXAMPLES", _blocks(group.epilog or ""))


def _command(command: click.Command, group: click.Group, path: str = "meshctl") -> Iterator[str]:
    path = f"{path} {command.name}"
    arguments = [p for p in command.params if isinstance(p, click.Argument)]
    words = " ".join(_word(argument) for argument in arguments)
    words = "COMMAND" if isinstance(command, click.Group) else f"[OPTIONS] {words}"
    yield f".SS {_escape(f'{path} {words}'.strip())}"
    yield from _prose(inspect.cleandoc(command.help or ""))
    common = {parameter.name for parameter in group.params}
    yield from _options(p for p in command.params if p.name not in common)
    yield from _blocks(command.epilog or "")
    if isinstance(command, click.Group):
        for member in command.commands.values():
            yield from _command(member, group, path)


def _word(argument: click.Argument) -> str:
    name = argument.metavar or (argument.name or "").upper()
    name = name if argument.required or name.startswith("[") else f"[{name}]"
    return f"{name}..." if argument.nargs == -1 and not name.endswith("...") else name


def _options(parameters: Iterable[click.Parameter]) -> Iterator[str]:
    """Not click's own texts, which differ between its versions."""
    for option in parameters:
        if isinstance(option, click.Option):
            names = ", ".join(option.opts)
            value = "" if option.is_flag or option.metavar is None else f" {option.metavar}"
            yield from _list([(f"{names}{value}", option.help or "")])


def _section(title: str, lines: Iterable[str]) -> Iterator[str]:
    yield f".SH {title}"
    yield from lines


def _list(items: Iterable[tuple[str, str]]) -> Iterator[str]:
    for name, text in items:
        yield ".TP"
        yield f"\\fB{_escape(name)}\\fR"
        yield _escape(" ".join(text.split()))


def _prose(text: str) -> Iterator[str]:
    for number, paragraph in enumerate(re.split(r"\n\s*\n", text.strip())):
        if number:
            yield ".PP"
        yield _escape(" ".join(paragraph.split()))


def _blocks(text: str) -> Iterator[str]:
    """An epilog: paragraphs, and after click's mark lines to be kept as they are."""
    for paragraph in re.split(r"\n\s*\n", text.strip("\n")):
        head, _, rest = paragraph.partition("\n")
        if head == "\b":
            yield from _verbatim(rest)
        elif "\n  " in paragraph:
            yield from _verbatim(paragraph)
        else:
            yield ".PP"
            yield from _prose(paragraph)


def _verbatim(text: str) -> Iterator[str]:
    yield ".PP"
    yield ".nf"
    yield from (_escape(line) for line in text.rstrip().splitlines())
    yield ".fi"


def _escape(text: str) -> str:
    escaped = text.replace("\\", r"\e").replace("-", r"\-").replace("'", r"\(aq")
    escaped = escaped.replace("~", r"\(ti").replace("^", r"\(ha").replace("`", r"\(ga")
    return rf"\&{escaped}" if escaped.startswith(".") else escaped


if __name__ == "__main__":
    click.echo(manual(meshctl), nl=False)
