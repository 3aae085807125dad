"""How a call is made: what ``node.service(...)`` was given, checked once and read at each call."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy

from patterns.errors import ConfigError
from patterns.keys import Key, key_bytes
from patterns.port import Handle

__all__ = ["CallOptions"]


class CallOptions:
    """``timeout`` and ``wait`` are seconds; ``wait`` None means the grace.

    Raises BadName for a bad key, ConfigError for a key together with a target. The last three
    attributes say in one word each what a call would otherwise work out for itself.
    """

    __slots__ = (
        "canonical_key",
        "headers",
        "is_free",
        "is_plain",
        "key",
        "retry",
        "target",
        "timeout",
        "wait",
        "window",
    )

    def __init__(
        self,
        timeout: float = 5.0,
        retry: bool = False,
        target: Callable[[], Handle] | None = None,
        wait: float | None = None,
        headers: dict[str, str] | None = None,
        key: Key | None = None,
    ) -> None:
        if key is not None and target is not None:
            raise ConfigError("key= chooses the peer by itself; give key= or peer=, not both")
        self.timeout = timeout
        self.retry = retry
        self.target = target
        """Resolves ``peer=`` at each call, raising PeerLost when it is gone."""
        self.wait = wait
        self.headers = headers
        self.key = key
        """As it was given; the handler sees it like that."""
        self.canonical_key = None if key is None else key_bytes(key)
        self.window: int | None = None
        """Of a call that opens a stream, what its caller takes of it; None for any other."""
        self.is_free = key is None and target is None
        """Whether any provider will do."""
        self.is_plain = key is None and not headers
        """Whether the request has nothing behind its arguments."""

    def for_stream(self, window: int) -> CallOptions:
        """The same for a call that opens a stream, which is made once: its answer is the stream."""
        options = copy(self)
        options.retry = False
        options.is_plain = False
        options.window = window
        return options
