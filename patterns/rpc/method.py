"""A function as a remote method: its arity, its injected ``Request``, its dataclass parameters.

Names and number of arguments are checked, types are not: annotations are the author's notes. Two
annotations do mean something. A parameter annotated with a dataclass is built from the map that
arrives in its place; one annotated ``Request`` is filled in here and invisible to callers.

The common call (no keywords, nothing to convert) is checked by two comparisons;
``inspect.Signature.bind`` (1.6 µs) runs only for the rest, and for its error texts.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Sequence
from dataclasses import fields, is_dataclass
from functools import partial, wraps
from types import NoneType, SimpleNamespace, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from patterns.errors import BadRequest, ConfigError
from patterns.keys import Key
from patterns.ownership.tenure import Tenure

__all__ = ["Method", "Request", "as_handler", "hints_of"]


SMOOTHING = 16
"""Weight of the past, in calls, when the time that a method takes is averaged."""


class Request:
    """What a handler can know about the call it serves, by a parameter annotated ``Request``.

    ``caller``    the ``Peer`` that calls
    ``deadline``  seconds that are left until the caller gives up, at the moment of the start
    ``headers``   ``dict[str, str]`` that the caller sent along
    ``key``       the key of a keyed call as its caller gave it, else None
    ``fence``     of a keyed call of a service with ``on_ownership`` or ``actor`` the fencing token
                  of this owner, else None: ``docs/ownership.md``
    """

    __slots__ = ("caller", "deadline", "fence", "headers", "key")

    def __init__(
        self,
        caller: Any,
        deadline: float,
        headers: dict[str, str],
        key: Key | None = None,
        fence: int | None = None,
    ) -> None:
        self.caller = caller
        self.deadline = deadline
        self.headers = headers
        self.key = key
        self.fence = fence

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
        "concurrency",
        "full_name",
        "function",
        "inline",
        "is_async",
        "name",
        "running",
        "seconds",
        "signature",
        "tenure",
        "wants_request",
    )

    def __init__(
        self, name: str, function: Callable[..., Any], *, concurrency: int, inline: bool
    ) -> None:
        if concurrency < 1:
            raise ConfigError(f"{name}: concurrency must be at least 1, not {concurrency}")
        self.name = name
        self.function, self.is_async = self._as_handler(function)
        self.inline = inline and not self.is_async
        self.concurrency = concurrency
        self.full_name = name
        """With its service, once it is served."""
        self.running = 0
        self.seconds: float | None = None
        """What one call occupies its slot for, smoothed; None before the first has ended."""
        self.tenure: Tenure | None = None
        """Of its service, if the ownership of that moves with care."""
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
        hints = hints_of(self.function)
        visible, self._request, self._request_index = [], None, -1
        for index, parameter in enumerate(signature.parameters.values()):
            if _without_none(hints.get(parameter.name)) is Request:
                self._request = parameter.name
                if parameter.kind is not parameter.KEYWORD_ONLY:
                    self._request_index = index
            else:
                visible.append(parameter)
        self.wants_request = self._request is not None
        """Whether the function has a parameter annotated ``Request``."""
        self.signature = signature.replace(parameters=visible)
        """As its callers see it."""
        self._convert = {}
        for p in visible:
            cls = _without_none(hints.get(p.name))
            if _is_dataclass(cls):
                may_be_none = p.default is None or cls is not hints[p.name]
                self._convert[p.name] = (p.kind, cls, may_be_none)
        positional = [p for p in visible if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
        self._min_args = sum(p.default is p.empty for p in positional)
        self._max_args = len(positional)
        if any(p.kind is p.VAR_POSITIONAL for p in visible):
            self._max_args = 1 << 30
        if self._convert or any(p.kind is p.KEYWORD_ONLY and p.default is p.empty for p in visible):
            self._max_args = -1  # never take the short way

    def _as_handler(self, function: Callable[..., Any]) -> tuple[Callable[..., Any], bool]:
        return as_handler(self.name, function)

    def took(self, seconds: float) -> None:
        """A call has ended."""
        if self.seconds is None:
            self.seconds = seconds
        else:
            self.seconds += (seconds - self.seconds) / SMOOTHING

    def expected(self, waiting: int) -> float:
        """Seconds until a call would end that comes behind ``waiting`` others; 0: not known."""
        return (self.seconds or 0.0) * ((waiting + 1) / self.concurrency + 1)

    def check(
        self, args: Sequence[Any], kwargs: dict[str, Any]
    ) -> tuple[Sequence[Any], dict[str, Any]]:
        """The arguments to call with, dataclasses built. Raises BadRequest if they don't fit."""
        if not kwargs and self._min_args <= len(args) <= self._max_args:
            return args, kwargs
        try:
            bound = self.signature.bind(*args, **kwargs)
        except TypeError as error:
            raise BadRequest(f"{self.name}{self.signature}: {error}") from None
        for name, (kind, cls, may_be_none) in self._convert.items():
            value = bound.arguments.get(name)
            if name not in bound.arguments or (value is None and may_be_none):
                continue
            try:
                bound.arguments[name] = _build_all(kind, cls, value)
            except Exception as error:  # noqa: BLE001  a dataclass checks itself as it likes
                what = f"{self.name}: argument {name!r}"
                raise BadRequest(f"{what}: {_describe(error)}") from None
        return bound.args, bound.kwargs

    def inject(
        self, args: Sequence[Any], kwargs: dict[str, Any], request: Request
    ) -> tuple[Sequence[Any], dict[str, Any]]:
        """The arguments with ``request`` in its place."""
        index = self._request_index
        if 0 <= index <= len(args):
            return [*args[:index], request, *args[index:]], kwargs
        return args, {**kwargs, str(self._request): request}


def as_handler(name: str, function: Any) -> tuple[Callable[..., Any], bool]:
    """What to run for a user's function, and whether that gives a coroutine.

    Raises ConfigError for what can never work as a handler.
    """
    if not callable(function):
        raise ConfigError(f"{name}: {function!r} is not callable")
    inner = inspect.unwrap(function)
    if inspect.isgeneratorfunction(inner) or inspect.isasyncgenfunction(inner):
        raise ConfigError(f"{name}: {function!r} is a generator; nobody would iterate it")
    if is_async_callable(function):
        return function, True
    if not is_async_callable(inner):
        return function, False

    @wraps(function)
    async def awaited(*args: Any, **kwargs: Any) -> Any:
        # A plain wrapper around a coroutine function, as many decorators make.
        result = function(*args, **kwargs)
        return await result if inspect.isawaitable(result) else result

    return awaited, True


def is_async_callable(function: Callable[..., Any]) -> bool:
    """Whether calling it gives a coroutine: coroutine functions, partials and callables of such."""
    while isinstance(function, partial):
        function = function.func
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004  the method itself is inspected
    )


def hints_of(function: Callable[..., Any]) -> dict[str, Any]:
    """The annotations, resolved where they can be; names that cannot be resolved mean nothing."""
    target = function
    while isinstance(target, partial):
        target = target.func
    if not inspect.isroutine(target) and not isinstance(target, type):
        target = getattr(target, "__call__", target)  # noqa: B004  the method is inspected
    return _resolve_hints(target)


def _resolve_hints(target: Any) -> dict[str, Any]:
    """The annotations of a function or class, each by itself: one that is only there for a type
    checker must not spoil the others.
    """
    try:
        hints = get_type_hints(target)
    except Exception:  # noqa: BLE001  an annotation is any expression; see below
        hints = _resolve_each(target)
    return {name: hint for name, hint in hints.items() if name != "return"}


def _resolve_each(target: Any) -> dict[str, Any]:
    hints: dict[str, Any] = {}
    owners = reversed(target.__mro__) if isinstance(target, type) else (inspect.unwrap(target),)
    for owner in owners:
        module = sys.modules.get(getattr(owner, "__module__", ""))
        names = getattr(owner, "__globals__", None) or vars(module or SimpleNamespace())
        for name, hint in inspect.get_annotations(owner).items():
            stub = SimpleNamespace(__annotations__={name: hint})
            try:
                hints.update(get_type_hints(stub, names))
            except Exception:  # noqa: BLE001  whatever it raises, it says nothing to us
                hints.pop(name, None)
    return hints


def _without_none(hint: Any) -> Any:
    """X for ``X | None``."""
    if get_origin(hint) not in (Union, UnionType):
        return hint
    others = [option for option in get_args(hint) if option is not NoneType]
    return others[0] if len(others) == 1 else hint


def _is_dataclass(hint: Any) -> bool:
    return isinstance(hint, type) and is_dataclass(hint)


def _describe(error: Exception) -> str:
    try:
        text = str(error)
    except Exception:  # noqa: BLE001  its author's, as the error itself
        text = "(its text could not be made)"
    return text if type(error) in (TypeError, ValueError) else f"{type(error).__name__}: {text}"


def _build_all(kind: Any, cls: type, value: Any) -> Any:
    """What a parameter of any kind takes: one, or as many as came."""
    if kind is inspect.Parameter.VAR_POSITIONAL:
        return tuple(_build(cls, item) for item in value)
    if kind is inspect.Parameter.VAR_KEYWORD:
        return {name: _build(cls, item) for name, item in value.items()}
    return _build(cls, value)


def _build(cls: type, value: Any) -> Any:
    """An instance of a dataclass from a map, nested dataclasses included."""
    if isinstance(value, cls):
        return value
    if not isinstance(value, dict):
        raise TypeError(f"a map for {cls.__name__} is needed, not {type(value).__name__}")
    hints = hints_of(cls)
    known = {field.name for field in fields(cls) if field.init}
    if unknown := sorted(str(name) for name in value.keys() - known):
        raise TypeError(f"{cls.__name__} has no field {', '.join(unknown)}")
    built = {
        name: _build(hint, item)
        if _is_dataclass(hint := _without_none(hints.get(name))) and item is not None
        else item
        for name, item in value.items()
    }
    return cls(**built)
