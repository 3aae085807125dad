"""``node.service("calc")``: a service as an object whose attributes are its methods."""

from __future__ import annotations

import math
from collections.abc import Callable, Coroutine
from typing import Any

from mesh.engine.packing import check_headers
from mesh.iterating import IterateOptions
from patterns.errors import ConfigError
from patterns.keys import Key
from patterns.names import check_name
from patterns.rpc import CallOptions

__all__ = ["AsyncService", "Service", "make_options"]


def make_options(
    timeout: float,
    retry: bool,
    target: Callable[[], Any] | None,
    wait: float | None,
    headers: dict[str, str] | None,
    key: Key | None = None,
    hedge: float | str | None = None,
) -> CallOptions:
    """Call options, checked. Raises ConfigError, BadName for the key, BadPayload for headers."""
    for name, value in (("timeout", timeout), ("wait", wait)):
        if value is None and name == "wait":
            continue
        if not (isinstance(value, int | float) and 0 <= value < math.inf):
            raise ConfigError(f"{name}={value!r}: give seconds, 0 or more")
    if headers is not None:
        check_headers(headers)
    return CallOptions(timeout, retry, target, wait, headers, key, hedge)


class _Service:
    """What both faces share; resolving a method never blocks and never fails."""

    def __init__(
        self,
        call: Callable[..., Any],
        iterate: Callable[..., Any],
        name: str,
        options: CallOptions,
    ) -> None:
        self._call = call
        self._iterate = iterate
        self._name = check_name("service", name)
        self._options = options

    @property
    def iterate(self) -> Iterating:
        """Its methods that are generators, to be iterated."""
        return Iterating(self._iterate, self._name, self._options)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._name}>"


class Iterating:
    """``service.iterate``: methods that are generators, ``calc.iterate.primes(10)``.

    Called, it takes options first: ``calc.iterate(item_timeout=1).primes(10)``.
    """

    def __init__(
        self,
        iterate: Callable[..., Any],
        name: str,
        options: CallOptions,
        own: IterateOptions | None = None,
    ) -> None:
        self._iterate = iterate
        self._name = name
        self._options = options
        self._own = own or IterateOptions()

    def __call__(
        self,
        *,
        item_timeout: float | None = None,
        total: float | None = None,
        window: int | None = None,
    ) -> Iterating:
        """``item_timeout`` and ``total``: seconds until CallTimeout for each item, and in all;
        ``window``: bytes of items that may be here and not taken (1 MiB)."""
        own = IterateOptions(item_timeout, total, window)
        return Iterating(self._iterate, self._name, self._options, own)

    def __getattr__(self, method: str) -> Callable[..., Any]:
        if method.startswith("__"):
            raise AttributeError(method)
        return self[method]

    def __getitem__(self, method: str) -> Callable[..., Any]:
        name, iterate, options, own = (
            f"{self._name}.{method}",
            self._iterate,
            self._options,
            self._own,
        )

        def bound(*args: Any, **kwargs: Any) -> Any:
            return iterate(name, args, kwargs, options, own)

        return bound


class AsyncService(_Service):
    """Methods of a service, to be awaited: ``await calc.add(2, b=3)``."""

    def __getattr__(self, method: str) -> Callable[..., Coroutine[Any, Any, Any]]:
        if method.startswith("__"):
            raise AttributeError(method)
        return self[method]

    def __getitem__(self, method: str) -> Callable[..., Coroutine[Any, Any, Any]]:
        """For names that are no Python identifiers: ``calc["add-all"]``."""
        name, call, options = f"{self._name}.{method}", self._call, self._options

        def bound(*args: Any, **kwargs: Any) -> Coroutine[Any, Any, Any]:
            return call(name, args, kwargs, options)  # type: ignore[no-any-return]

        return bound


class Service(_Service):
    """Methods of a service, blocking: ``calc.add(2, b=3)``."""

    def __getattr__(self, method: str) -> Callable[..., Any]:
        if method.startswith("__"):
            raise AttributeError(method)
        return self[method]

    def __getitem__(self, method: str) -> Callable[..., Any]:
        """For names that are no Python identifiers: ``calc["add-all"]``."""
        name, call, options = f"{self._name}.{method}", self._call, self._options

        def bound(*args: Any, **kwargs: Any) -> Any:
            return call(name, args, kwargs, options)

        return bound
