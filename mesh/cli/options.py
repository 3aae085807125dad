"""The options that every command takes, and the node they make.

They may stand before the command, after it, or both; the later one wins, seeds add up. Each is
gathered into one ``Options`` by a callback, so that commands do not list them as parameters.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

import click

import mesh

__all__ = ["Options", "ValueCommand", "json_option", "mesh_options", "pass_options"]

F = TypeVar("F", bound=Callable[..., Any])

DEFAULT_TIMEOUT = 5.0
"""Seconds, as in the verbs of the API."""

OWN_NAME = "meshctl"
"""What handlers see as the sender's or caller's name."""

MAX_KEY_BYTES = 4096
"""Of a key file: more is the wrong file."""

_NUMBER = re.compile(r"-\.?[0-9]")


@dataclass
class Options:
    """What the mesh options came to."""

    mesh_name: str | None = None
    key_file: str | None = None
    seed: list[str] = field(default_factory=list)
    timeout: float = DEFAULT_TIMEOUT
    host: str | None = None
    insecure: bool | None = None

    @contextmanager
    def node(self) -> Iterator[mesh.Node]:
        """A started observer; leaving says goodbye.

        Raises UsageError for a bad key file, ConfigError and BadName for other settings, OSError
        when the address is not to be had.
        """
        node = mesh.Node(
            OWN_NAME,
            mesh=self.mesh_name,
            key=read_key(self.key_file) if self.key_file is not None else None,
            insecure=self.insecure,
            host=self.host,
            seeds=self.seed,
            observer=True,
        )
        with node:
            yield node


pass_options = click.make_pass_decorator(Options)


def read_key(path: str) -> str:
    """The first line of a key file. Raises UsageError when there is none to read."""
    try:
        with Path(path).open("rb") as file:
            first = file.readline(MAX_KEY_BYTES + 1)
    except OSError as error:
        raise click.UsageError(f"cannot read the key file {path}: {error.strerror}") from None
    try:
        key = first.decode().strip()
    except UnicodeDecodeError:
        key = ""
    if not key or len(first) > MAX_KEY_BYTES:
        raise click.UsageError(f"the first line of {path} is no key; 'meshctl keygen' makes one")
    return key


def _gather(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    """Keep a value that was given; those of the command come after those before it."""
    options = context.ensure_object(Options)
    if value is None or parameter.name is None:
        return
    if parameter.name == "seed":
        options.seed.extend(value)
    else:
        setattr(options, parameter.name, value)


def _check_seconds(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    if value is not None and not (math.isfinite(value) and value >= 0):
        raise click.BadParameter("give seconds, 0 or more", context, parameter)
    _gather(context, parameter, value)


def mesh_options(function: F) -> F:
    """Add the options of the mesh to a command."""
    for add in reversed(
        (
            _option(
                "--mesh",
                "mesh_name",
                metavar="NAME",
                help="The mesh to join (MESH_NAME; default: mesh).",
            ),
            _option(
                "--key-file",
                metavar="PATH",
                help="File whose first line is the mesh's key (or the key itself in MESH_KEY).",
            ),
            _option(
                "--seed",
                metavar="HOST:PORT",
                multiple=True,
                help="A node to dial where multicast does not reach; may be repeated (MESH_SEEDS).",
            ),
            _option(
                "--timeout",
                metavar="SECONDS",
                type=float,
                callback=_check_seconds,
                help=f"Longest wait for an answer or for others. Default: {DEFAULT_TIMEOUT:g}.",
            ),
            _option(
                "--insecure",
                is_flag=True,
                flag_value=True,
                default=None,
                help="Go on the network without a key (MESH_INSECURE).",
            ),
            _option("--host", metavar="ADDRESS", help="The address to bind (MESH_HOST)."),
        )
    ):
        function = add(function)
    return function


def _option(*names: str, **settings: Any) -> Callable[[F], F]:
    return click.option(*names, expose_value=False, **{"callback": _gather, **settings})


def json_option(what: str) -> Callable[[F], F]:
    """``--json``, which prints ``what``."""
    return click.option("--json", "as_json", is_flag=True, help=f"Print {what}.")


class ValueCommand(click.Command):
    """A command whose arguments may be negative numbers, which look like options.

    Click would refuse ``call calc.add -1 2``, or, told to ignore unknown options, would take a
    mistyped ``--rety`` for an argument. Here only what begins like a number is an argument;
    after ``--`` everything is.
    """

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.context_settings = {**self.context_settings, "ignore_unknown_options": True}

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        takes_value = {
            name: not parameter.is_flag
            for parameter in self.get_params(ctx)
            if isinstance(parameter, click.Option)
            for name in (*parameter.opts, *parameter.secondary_opts)
        }
        words = iter(args)
        for word in words:
            if word == "--":
                break
            if not word.startswith("-") or word == "-" or _NUMBER.match(word):
                continue
            name, equals, _ = word.partition("=")
            if name not in takes_value:
                close = get_close_matches(name, takes_value)
                raise click.NoSuchOption(name, possibilities=close, ctx=ctx)
            if takes_value[name] and not equals:
                next(words, None)
        return super().parse_args(ctx, args)
