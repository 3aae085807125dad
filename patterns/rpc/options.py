"""How a call is made: what ``node.service(...)`` was given, checked once and read at each call."""

from __future__ import annotations

import re
from collections.abc import Callable
from copy import copy

from patterns.errors import ConfigError
from patterns.keys import Key, key_bytes
from patterns.port import Handle

__all__ = ["LEAST_HEDGE", "CallOptions"]

LEAST_HEDGE = 0.001
"""Seconds: sooner than that a second copy is no hedge but a habit."""


class CallOptions:
    """``timeout`` and ``wait`` are seconds; ``wait`` None means the grace.

    ``hedge`` is seconds, or "p50" to "p99". It says what ``retry`` says, that the methods are
    idempotent, so it brings that along.

    Raises BadName for a bad key, ConfigError for a key together with a target, or either with a
    hedge. Some attributes say in one word what a call would otherwise work out for itself.
    """

    __slots__ = (
        "canonical_key",
        "headers",
        "hedge",
        "is_beside",
        "is_free",
        "is_plain",
        "key",
        "legs",
        "opener",
        "quantile",
        "retry",
        "target",
        "timeout",
        "wait",
    )

    def __init__(
        self,
        timeout: float = 5.0,
        retry: bool = False,
        target: Callable[[], Handle] | None = None,
        wait: float | None = None,
        headers: dict[str, str] | None = None,
        key: Key | None = None,
        hedge: float | str | None = None,
    ) -> None:
        if key is not None and target is not None:
            raise ConfigError("key= chooses the peer by itself; give key= or peer=, not both")
        self.timeout = timeout
        self.retry = retry or hedge is not None
        self.target = target
        """Resolves ``peer=`` at each call, raising PeerLost when it is gone."""
        self.wait = wait
        self.headers = headers
        self.key = key
        """As it was given; the handler sees it like that."""
        self.canonical_key = None if key is None else key_bytes(key)
        self.opener: list[int] | None = None
        """Of a call that opens a stream, the caller's window and era; None for any other."""
        self.quantile: float | None = None
        """The share of calls that end before the hedge is sent, if it was given as one."""
        self.hedge = None if hedge is None else self._checked(hedge)
        """Seconds; 0 with a quantile."""
        self.is_beside: bool = False
        """Whether another call is under way for the same, so that this one is not tried again."""
        self.legs: tuple[CallOptions, ...] = ()
        """For the calls that a hedged one is made of: while one goes alone, and beside another."""
        if hedge is not None:
            alone, beside = (
                CallOptions(timeout, retry, None, wait, headers) for retry in (True, False)
            )
            beside.is_beside = True
            self.legs = (alone, beside)
        self.is_free = key is None and target is None and hedge is None
        """Whether any provider will do, and one is enough."""
        self.is_plain = key is None and not headers
        """Whether the request has nothing behind its arguments."""

    def for_stream(self, opener: list[int]) -> CallOptions:
        """The same for a call that opens a stream, which is made once: its answer is the stream.

        Raises ConfigError with ``hedge``.
        """
        if self.hedge is not None:
            raise ConfigError(
                "hedge= makes a call twice, but a stream is opened once; leave it out"
            )
        options = copy(self)
        options.retry = False
        options.is_plain = False
        options.opener = opener
        return options

    def with_headers(self, headers: dict[str, str]) -> CallOptions:
        """The same with these headers."""
        options = copy(self)
        options.headers = headers
        options.is_plain = self.key is None and not headers and self.opener is None
        options.legs = tuple(leg.with_headers(headers) for leg in self.legs)
        return options

    @property
    def is_anyones(self) -> bool:
        """Whether any provider will do."""
        return self.key is None and self.target is None

    def _checked(self, hedge: float | str) -> float:
        if self.key is not None:
            raise ConfigError(
                "hedge= asks a second member, but a key has one owner; give key= or hedge="
            )
        if self.target is not None:
            raise ConfigError(
                "hedge= asks a second member, but peer= means one; give peer= or hedge="
            )
        if isinstance(hedge, str):
            if not re.fullmatch(r"p[5-9][0-9]", hedge):
                raise ConfigError(f'hedge={hedge!r}: give seconds, or "p50" to "p99"')
            self.quantile = int(hedge[1:]) / 100
            return 0.0
        if isinstance(hedge, bool) or not isinstance(hedge, int | float):
            raise ConfigError(f'hedge={hedge!r}: give seconds, or "p50" to "p99"')
        if not LEAST_HEDGE <= hedge < self.timeout:
            raise ConfigError(
                f"hedge={hedge!r}: give seconds, from {LEAST_HEDGE:g} to less than the timeout of "
                f"{self.timeout:g}"
            )
        return float(hedge)
