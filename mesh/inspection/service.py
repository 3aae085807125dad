"""The service ``_mesh`` that every node has, observers included: what ``meshctl`` asks.

It is in no record, so nobody is counted or listed for it, and it is reached by ``peer=`` alone. It
is an ordinary service otherwise: deadlines hold, a policy decides (right ``call``, on
``_mesh.state`` and so on), and it answers for as long as the node is there, drained or not.

What a node does not allow by ``allow=`` is denied, with a text that says what to do.

Whoever may ask may ask often, and an answer can take milliseconds. So each gives way to the rest of
the loop before it is made, and before each of its parts, and few are made at a time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any

from mesh.engine import Engine
from mesh.inspection.describing import describe_methods
from mesh.inspection.log_levels import LogLevels
from mesh.inspection.observed import ObservedViews
from mesh.inspection.operating import Operating
from mesh.inspection.state import PARTS, state_of, version
from mesh.settings import Settings
from mesh.streaming import generator_method
from patterns.errors import AccessDenied, BadRequest
from patterns.names import RESERVED_TOKEN, is_reserved_method
from patterns.rpc import Method
from patterns.rpc.method import is_async_callable
from patterns.streams.method import is_generator

if TYPE_CHECKING:
    from mesh.host import Host

__all__ = ["Inspector"]

CONCURRENCY = 2
"""Questions of each kind that are answered at once: others wait, or are *overloaded*."""

TAPS = 16
"""Streams of taps at once; the node itself allows fewer of them."""


class Inspector:
    """The service of one node."""

    def __init__(self, host: Host, settings: Settings) -> None:
        self._host = host
        self._settings = settings
        self._views = ObservedViews(host)
        self._operating = Operating(host)
        self._log_levels = LogLevels(host)

    def attach(self, engine: Engine) -> None:
        """Serve what is allowed, and deny the rest."""
        for right, functions in self._offers().items():
            for name, function in functions.items():
                if right in self._settings.allow:
                    engine.server.add(RESERVED_TOKEN, self._method(name, function))
                else:
                    engine.server.denials[f"{RESERVED_TOKEN}.{name}"] = self._denial(name, right)

    def _offers(self) -> dict[str, dict[str, Callable[..., Any]]]:
        """What each right of ``mesh.settings.ALLOWED`` lets others call."""
        views = self._views
        return {
            "inspect": {
                "state": self.state,
                "describe": self.describe,
                "spans": views.spans,
                "traces": views.traces,
            },
            "operate": {
                "drain": self._operating.drain,
                "log_level": self._log_levels.log_level,
            },
            "tap": {"tap": views.tap},
        }

    def _method(self, name: str, function: Callable[..., Any]) -> Method:
        if is_generator(function):
            host = self._host
            return generator_method(name, function, lambda: host, concurrency=TAPS, inline=True)
        return Method(name, _giving_way(function), concurrency=CONCURRENCY, inline=True)

    def _denial(self, name: str, right: str) -> AccessDenied:
        who = f"{self._settings.name}/{self._settings.id.hex()[:8]}"
        given = ", ".join(sorted(self._settings.allow)) or "nothing"
        return AccessDenied(
            f"{who} does not let others {right} it ({RESERVED_TOKEN}.{name}): its allow= or "
            f"MESH_ALLOW gives {given}",
            f"allow without {right!r}",
        )

    async def state(self, parts: list[str] | None = None) -> dict[str, Any]:
        """How this node is, by part; None: all of ``PARTS``."""
        wanted = PARTS if parts is None else parts
        if not isinstance(wanted, list | tuple) or not all(part in PARTS for part in wanted):
            raise BadRequest(f"parts: give a list of {', '.join(PARTS)}")
        told = {}
        for part in dict.fromkeys(wanted):  # once, however often it is asked for
            await asyncio.sleep(0)
            told[part] = state_of(part, self._host, self._settings)
        return told

    def describe(self, service: str | None = None) -> dict[str, Any]:
        """What can be called here, and what is listened to; of one service, or of all."""
        engine = self._host.engine
        methods, left_out = describe_methods(
            method
            for name, method in engine.server.methods.items()
            if not is_reserved_method(name) and service in (None, name.partition(".")[0])
        )
        return {
            "version": version(),
            "methods": methods,
            "methods_left_out": left_out,
            "groups": sorted(engine.me.groups),
            "subscriptions": engine.inspection.subscriptions(),
        }

    def close(self) -> None:
        """What was set for a while falls back."""
        self._log_levels.close()


def _giving_way(function: Callable[..., Any]) -> Callable[..., Any]:
    """As a coroutine function that waits for its turn of the loop."""
    if is_async_callable(function):
        return function

    @wraps(function)
    async def run(*args: Any, **kwargs: Any) -> Any:
        await asyncio.sleep(0)
        return function(*args, **kwargs)

    return run
