"""The blocking verbs: begun on the loop, waited for in the caller's thread.

Whoever stops waiting (Ctrl-C) has not ended the verb: the loop is told to give it up.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any, TypeVar

from mesh.engine import Engine
from mesh.host import Host
from mesh.runtime import ThreadWaiter
from patterns.errors import NodeClosed
from patterns.keys import Key
from patterns.rpc import CallOptions
from patterns.rpc.inherited import inherited_deadline

__all__ = ["call", "groupcast"]

W = TypeVar("W", bound=ThreadWaiter)


def call(
    host: Host, method: str, args: tuple[Any, ...], kwargs: dict[str, Any], options: CallOptions
) -> Any:
    """As ``Node.call``."""
    waiter = _CallWaiter()
    until = inherited_deadline()
    host.hand_over(_begin_call, host.engine, method, args, kwargs, options, waiter, until)
    return _wait(host, waiter, _cancel_call)


def groupcast(
    host: Host,
    group: str,
    data: Any,
    key: Key | None,
    headers: dict[str, str] | None,
    timeout: float,
) -> Any:
    """As ``Node.groupcast``."""
    waiter = ThreadWaiter()
    arguments = (group, data, key, headers, timeout)
    host.hand_over(_begin_groupcast, host.engine, arguments, waiter)
    return _wait(host, waiter, _abandon_cast)


def _wait(host: Host, waiter: W, give_up: Callable[[Engine, W], None]) -> Any:
    try:
        return waiter.wait()
    except BaseException:
        if not waiter.done():
            with contextlib.suppress(NodeClosed):
                host.hand_over(give_up, host.engine, waiter)
        raise


class _CallWaiter(ThreadWaiter):
    __slots__ = ("call_id",)

    def __init__(self) -> None:
        super().__init__()
        self.call_id: int | None = None


def _begin_call(
    engine: Engine,
    method: str,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    options: CallOptions,
    waiter: _CallWaiter,
    until: float | None,
) -> None:
    try:
        waiter.call_id = engine.call(method, args, kwargs, options, waiter, until)
    except Exception as error:  # noqa: BLE001  raised in the thread that waits
        waiter.set_exception(error)


def _cancel_call(engine: Engine, waiter: _CallWaiter) -> None:
    # Handed over behind ``_begin_call``, so the call has an id, or could not begin.
    if waiter.call_id is not None:
        engine.cancel(waiter.call_id)


def _abandon_cast(engine: Engine, waiter: ThreadWaiter) -> None:
    engine.abandon(waiter)


def _begin_groupcast(engine: Engine, arguments: tuple[Any, ...], waiter: ThreadWaiter) -> None:
    group, data, key, headers, timeout = arguments
    try:
        engine.groupcast(group, data, key, headers, timeout, waiter)
    except Exception as error:  # noqa: BLE001  raised in the thread that waits
        waiter.set_exception(error)
