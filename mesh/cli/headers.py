"""``--header name=value``, for the commands that send something."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

__all__ = ["header_option"]

F = TypeVar("F", bound=Callable[..., Any])


def _parse(
    context: click.Context, parameter: click.Parameter, values: Sequence[str]
) -> dict[str, str]:
    headers = {}
    for text in values:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise click.BadParameter(f"{text!r}: write NAME=VALUE", context, parameter)
        headers[name] = value
    return headers


def header_option(function: F) -> F:
    """Add ``--header``, which arrives as the parameter ``headers``, a dict."""
    return click.option(
        "--header",
        "headers",
        metavar="NAME=VALUE",
        multiple=True,
        callback=_parse,
        help="A header to send along; may be repeated.",
    )(function)
