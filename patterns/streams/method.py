"""A method that answers by a stream: a generator, or a handler of a stream as such."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from patterns.errors import BadRequest, ConfigError
from patterns.rpc.method import Method, as_handler
from patterns.streams.stream import Stream

__all__ = ["STREAM_METHOD", "StreamMethod", "is_generator", "method_of", "shown_name"]

STREAM_METHOD = "_stream"
"""What the stream of a service is among its methods."""


Serve = Callable[[Stream, Sequence[Any], dict[str, Any]], Any]


def method_of(name: str) -> str:
    """The full name of the method behind a stream: "files" is the stream of that service."""
    return name if "." in name else f"{name}.{STREAM_METHOD}"


def shown_name(method: str) -> str:
    """What its users call it."""
    return method.removesuffix(f".{STREAM_METHOD}")


def is_generator(function: Callable[..., Any]) -> bool:
    """Whether calling it gives a generator, plain or async."""
    inner = inspect.unwrap(function)
    return inspect.isgeneratorfunction(inner) or inspect.isasyncgenfunction(inner)


class StreamMethod(Method):
    """``function`` has the signature that callers see; ``serve`` runs it with the stream.

    ``takes_stream`` says that its first argument is the stream, and nobody sends any.
    ``concurrency`` bounds how many are served at once; another is *overloaded*, at once.
    """

    __slots__ = ("serve", "serves_async", "window")

    def __init__(
        self,
        name: str,
        function: Callable[..., Any],
        serve: Serve,
        *,
        concurrency: int,
        serves_async: bool,
        window: int,
    ) -> None:
        super().__init__(name, function, concurrency=concurrency, inline=False)
        self.serve = serve
        self.serves_async = serves_async
        self.window = window

    def _as_handler(self, function: Callable[..., Any]) -> tuple[Callable[..., Any], bool]:
        if not callable(function):
            raise ConfigError(f"{self.name}: {function!r} is not callable")
        return (function, True) if is_generator(function) else as_handler(self.name, function)

    def check(
        self, args: Sequence[Any], kwargs: dict[str, Any]
    ) -> tuple[Sequence[Any], dict[str, Any]]:
        """Raises BadRequest: a call has one answer."""
        raise BadRequest(f"{self.name} answers by a stream: use iterate() or open_stream()")

    def check_stream(
        self, args: Sequence[Any], kwargs: dict[str, Any]
    ) -> tuple[Sequence[Any], dict[str, Any]]:
        """The arguments that opened a stream. Raises BadRequest if they do not fit."""
        return super().check(args, kwargs)
