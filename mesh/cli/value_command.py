"""A command that takes values, among them negative numbers, which look like options."""

from __future__ import annotations

import re
from typing import Any

import click

__all__ = ["ValueCommand"]

_NUMBER = re.compile(r"-\.?[0-9]")


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
                from difflib import get_close_matches  # only for who made a slip

                close = get_close_matches(name, takes_value)
                raise click.NoSuchOption(name, possibilities=close, ctx=ctx)
            if takes_value[name] and not equals:
                next(words, None)
        return super().parse_args(ctx, args)
