"""A function as a remote method: its arity, its injected ``Request``, its dataclass parameters.

Names and number of arguments are checked, types are not: annotations are the author's notes. Two
annotations do mean something. A parameter annotated with a dataclass is built from the map that
arrives in its place; one annotated ``Request`` is filled in here and invisible to callers.

The common call (no keywords, nothing to convert) is checked by two comparisons;
``inspect.Signature.bind`` (1.6 µs) runs only for the rest, and for its error texts.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import fields, is_dataclass
from functools import partial
from typing import Any, get_type_hints

from patterns.errors import BadRequest, ConfigError

__all__ = ["Method", "Request"]


class Request:
    """What a handler can know about the call it serves, by a parameter annotated ``Request``.

    ``caller``    the ``Peer`` that calls
    ``deadline``  seconds that are left until the caller gives up, at the moment of the start
    ``headers``   ``dict[str, str]`` that the caller sent along
    ``key``       the routing key of a keyed call, else None
    """

    __slots__ = ("caller", "deadline", "headers", "key")

    def __init__(
        self, caller: Any, deadline: float, headers: dict[str, str], key: Any = None
    ) -> None:
        self.caller = caller
        self.deadline = deadline
        self.headers = headers
        self.key = key

    def __repr__(self) -> str:
        return f"<Request from {getattr(self.caller, 'name', self.caller)}, {self.deadline:.3f} s>"


class Method:
    """One callable served under one name.

    ``inline`` runs a plain function on the loop; otherwise it goes to the pool. Coroutine
    functions always run on the loop. ``concurrency`` bounds how many run at once.
    """

    __slots__ = (
        "_convert",
        "_max_args",
        "_min_args",
        "_request",
        "_request_index",
        "_signature",
        "concurrency",
        "function",
        "inline",
        "is_async",
        "name",
        "running",
    )

    def __init__(
        self, name: str, function: Callable[..., Any], *, concurrency: int, inline: bool
    ) -> None:
        if not callable(function):
            raise ConfigError(f"{name}: {function!r} is not callable")
        if concurrency < 1:
            raise ConfigError(f"{name}: concurrency must be at least 1, not {concurrency}")
        self.name = name
        self.function = function
        self.is_async = is_async_callable(function)
        self.inline = inline and not self.is_async
        self.concurrency = concurrency
        self.running = 0
        self._read_signature()

    def _read_signature(self) -> None:
        try:
            signature = inspect.signature(self.function)
        except ValueError:  # some built-ins have none: whatever arrives is passed on
            signature = inspect.Signature(
                [
                    inspect.Parameter("args", inspect.Parameter.VAR_POSITIONAL),
                    inspect.Parameter("kwargs", inspect.Parameter.VAR_KEYWORD),
                ]
            )
        hints = _hints(self.function)
        visible, self._request, self._request_index = [], None, -1
        for index, parameter in enumerate(signature.parameters.values()):
            if hints.get(parameter.name) is Request:
                self._request = parameter.name
                if parameter.kind is not parameter.KEYWORD_ONLY:
                    self._request_index = index
            else:
                visible.append(parameter)
        self._signature = signature.replace(parameters=visible)
        self._convert = {
            p.name: hints[p.name]
            for p in visible
            if isinstance(hints.get(p.name), type) and is_dataclass(hints[p.name])
        }
        positional = [p for p in visible if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
        self._min_args = sum(p.default is p.empty for p in positional)
        self._max_args = len(positional)
        if any(p.kind is p.VAR_POSITIONAL for p in visible):
            self._max_args = 1 << 30
        if self._convert or any(p.kind is p.KEYWORD_ONLY and p.default is p.empty for p in visible):
            self._max_args = -1  # never take the short way

    @property
    def wants_request(self) -> bool:
        """Whether the function has a parameter annotated ``Request``."""
        return self._request is not None

    def check(
        self, args: Sequence[Any], kwargs: dict[str, Any]
    ) -> tuple[Sequence[Any], dict[str, Any]]:
        """The arguments to call with, dataclasses built. Raises BadRequest if they don't fit."""
        if not kwargs and self._min_args <= len(args) <= self._max_args:
            return args, kwargs
        try:
            bound = self._signature.bind(*args, **kwargs)
        except TypeError as error:
            raise BadRequest(f"{self.name}{self._signature}: {error}") from None
        for name, cls in self._convert.items():
            if name in bound.arguments:
                try:
                    bound.arguments[name] = _build(cls, bound.arguments[name])
                except (TypeError, ValueError) as error:
                    raise BadRequest(f"{self.name}: argument {name!r}: {error}") from None
        return bound.args, bound.kwargs

    def inject(
        self, args: Sequence[Any], kwargs: dict[str, Any], request: Request
    ) -> tuple[Sequence[Any], dict[str, Any]]:
        """The arguments with ``request`` in its place."""
        index = self._request_index
        if 0 <= index <= len(args):
            return [*args[:index], request, *args[index:]], kwargs
        return args, {**kwargs, str(self._request): request}


def is_async_callable(function: Callable[..., Any]) -> bool:
    """Whether calling it gives a coroutine: coroutine functions, partials and callables of such."""
    while isinstance(function, partial):
        function = function.func
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004  the method itself is inspected
    )


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    """The annotations, resolved where they can be; names that cannot be resolved mean nothing."""
    target = function
    while isinstance(target, partial):
        target = target.func
    if not inspect.isroutine(target) and not isinstance(target, type):
        target = getattr(target, "__call__", target)  # noqa: B004  the method is inspected
    try:
        return get_type_hints(target)
    except (NameError, TypeError, AttributeError):
        return dict(getattr(target, "__annotations__", {}))


def _build(cls: type, value: Any) -> Any:
    """An instance of a dataclass from a map, nested dataclasses included."""
    if isinstance(value, cls):
        return value
    if not isinstance(value, dict):
        raise TypeError(f"a map for {cls.__name__} is needed, not {type(value).__name__}")
    hints = _hints(cls)
    known = {field.name for field in fields(cls) if field.init}
    if unknown := sorted(str(name) for name in value.keys() - known):
        raise TypeError(f"{cls.__name__} has no field {', '.join(unknown)}")
    built = {
        name: _build(hint, item)
        if isinstance(hint := hints.get(name), type) and is_dataclass(hint) and item is not None
        else item
        for name, item in value.items()
    }
    return cls(**built)
