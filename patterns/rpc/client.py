"""The caller's side of request/reply.

Rules:

* Every call ends exactly once: by its reply, its deadline, the loss of its peer, cancellation,
  or ``close()``. The deadline covers everything, waiting for a provider included.
* At most once, unless ``retry``: a call that may have run is never sent again on its own.
* With ``retry`` the same arguments, as packed at the call, go to a member not tried yet, as soon
  as the peer is merely *suspect*; without it a suspect may still answer, and only a peer that is
  gone fails its calls.
* A reply for a call that is no longer pending is dropped and counted.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any, cast

from patterns import messages as m
from patterns.deadlines import Deadlines
from patterns.errors import (
    BadRequest,
    CallTimeout,
    MeshError,
    NodeClosed,
    NoProvider,
    Overloaded,
    PeerLost,
    RemoteError,
)
from patterns.names import split_method
from patterns.port import Handle, RpcPort, Waiter
from patterns.rpc.providers import Providers

__all__ = ["MAX_CALLS", "CallOptions", "RpcClient"]

MAX_CALLS = 65_536
"""Calls in flight from one node: past this the caller is far behind its own demand."""

MAX_CALL_BYTES = 256 * 1024 * 1024
"""Packed requests in flight from one node; a peer that is away can make us keep all of them."""

MAX_BUDGET_MS = 1 << 40
"""A deadline on the wire, in ms: about 35 years, so that it always packs."""


class CallOptions:
    """How a call is made. ``timeout`` and ``wait`` are seconds; ``wait`` None means the grace."""

    __slots__ = ("headers", "retry", "target", "timeout", "wait")

    def __init__(
        self,
        timeout: float = 5.0,
        retry: bool = False,
        target: Callable[[], Handle] | None = None,
        wait: float | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        self.timeout = timeout
        self.retry = retry
        self.target = target
        """Resolves ``peer=`` at each call, raising PeerLost when it is gone."""
        self.wait = wait
        self.headers = headers


class _Pending:
    __slots__ = (
        "deadline",
        "entry",
        "handle",
        "method",
        "options",
        "size",
        "tick",
        "tried",
        "waiter",
    )

    handle: Handle | None
    tried: list[Handle] | None

    def __init__(
        self, waiter: Waiter, method: str, options: CallOptions, deadline: float, tick: int
    ) -> None:
        self.waiter = waiter
        self.method = method
        self.options = options
        self.deadline = deadline
        self.tick = tick
        self.handle = None
        self.size = 0
        self.entry: bytes | None = None
        self.tried = None


class RpcClient:
    """Makes calls and matches their replies. ``grace_left()`` is the wait for first providers."""

    def __init__(
        self, port: RpcPort, providers: Providers, grace_left: Callable[[], float]
    ) -> None:
        self._port = port
        self._now = port.now
        self._providers = providers
        self._grace_left = grace_left
        self._pending: dict[int, _Pending] = {}
        self._unplaced: dict[int, _Pending] = {}
        self._last_id = 0
        self._bytes = 0
        self._deadlines = Deadlines(port.now, port.call_later, self._on_deadline)
        self._closed = False
        self.late_replies = 0

    def call(
        self,
        method: str,
        args: Sequence[Any],
        kwargs: dict[str, Any],
        options: CallOptions,
        waiter: Waiter,
    ) -> int:
        """Start a call; its outcome goes to ``waiter``. Returns its id, for ``cancel``.

        Raises BadName, BadPayload, PayloadTooLarge, Overloaded, PeerLost (``peer=`` is gone) and
        NoProvider at once.
        """
        if self._closed:
            raise NodeClosed("this node is closed")
        if len(self._pending) >= MAX_CALLS or self._bytes > MAX_CALL_BYTES:
            raise Overloaded(
                f"{len(self._pending)} calls of {self._bytes} bytes are in flight from this node"
            )
        port = self._port
        target = options.target
        if target is None:
            handle = self._providers.pick(method)
        else:
            split_method(method)
            handle = target()
        self._last_id = call_id = self._last_id + 1
        budget_ms = min(int(options.timeout * 1000), MAX_BUDGET_MS)
        request: list[Any] = [call_id, method, budget_ms, args]
        if kwargs or options.headers:
            request.append(kwargs)
            if options.headers:
                request.append(options.headers)
        entry = port.pack(request)
        if handle is None:
            split_method(method)
        deadline = self._now() + options.timeout
        tick = self._deadlines.add(call_id, deadline)
        pending = _Pending(waiter, method, options, deadline, tick)
        self._pending[call_id] = pending
        pending.size = len(entry)
        self._bytes += pending.size
        if handle is not None:
            if options.retry:
                pending.entry = entry
            self._place(pending, handle, entry)
        else:
            pending.entry = entry
            try:
                self._await_provider(call_id, pending)
            except NoProvider:
                self._forget(call_id)
                raise
        return call_id

    def cancel(self, call_id: int) -> None:
        """The caller gave up: the peer is told, and a late reply will be dropped."""
        pending = self._forget(call_id)
        if pending is not None and pending.handle is not None:
            self._port.send_cancel(pending.handle, call_id)

    def on_replies(self, sender: Handle, entries: Iterable[Any]) -> int:
        """Settle calls by the reply entries of one frame; returns how many were malformed."""
        malformed = 0
        pending_calls = self._pending
        discard = self._deadlines.discard
        for entry in entries:
            try:
                call_id, status = entry[0], entry[1]
                pending = pending_calls.get(call_id)
                if pending is None or pending.handle is not sender:
                    self.late_replies += 1
                    continue
                if status == 0:
                    value = entry[2]
                    del pending_calls[call_id]
                    self._bytes -= pending.size
                    discard(call_id, pending.tick)
                    sender.outstanding -= 1
                    if not pending.waiter.done():
                        pending.waiter.set_result(value)
                else:
                    error = _error_of(status, entry, pending.method, sender)
                    self._on_refusal(call_id, pending, status, error)
            except (TypeError, ValueError, IndexError, KeyError):
                malformed += 1
        return malformed

    def on_providers_changed(self) -> None:
        """Somebody came, went or changed: place the calls that wait for a provider."""
        for call_id, pending in list(self._unplaced.items()):
            handle = self._providers.pick(pending.method, pending.tried or ())
            if handle is not None:
                del self._unplaced[call_id]
                self._watch_until(call_id, pending, pending.deadline)
                self._resend(call_id, pending, handle)

    def on_suspect(self, handle: Handle) -> None:
        """The peer may be dying: calls that may be repeated go to somebody else, if there is."""
        for call_id, pending in list(self._pending.items()):
            if pending.handle is handle and pending.options.retry:
                other = self._next_for(pending, handle)
                if other is not None:
                    self._port.send_cancel(handle, call_id)
                    self._move(call_id, pending, other)

    def on_lost(self, handle: Handle, reason: str, ids: Iterable[int] | None = None) -> None:
        """The peer is gone, or (with ``ids``) has lost just these calls."""
        if ids is None:
            ids = [call_id for call_id, p in self._pending.items() if p.handle is handle]
        for call_id in ids:
            pending = self._pending.get(call_id)
            if pending is None or pending.handle is not handle:
                continue
            other = self._next_for(pending, handle) if pending.options.retry else None
            if other is not None:
                self._move(call_id, pending, other)
                continue
            if pending.options.retry and pending.options.target is None:
                handle.outstanding -= 1
                pending.handle = None
                try:
                    self._await_provider(call_id, pending)
                except NoProvider:
                    self._fail(call_id, PeerLost(f"{pending.method}: {reason}; no other member"))
            else:
                self._fail(call_id, PeerLost(f"{pending.method}: {reason}"))

    def in_flight_at(self, handle: Handle) -> list[int]:
        """The ids of the calls sent there and not answered."""
        return [call_id for call_id, p in self._pending.items() if p.handle is handle]

    def __len__(self) -> int:
        return len(self._pending)

    def close(self) -> None:
        """Fail all that is pending with NodeClosed."""
        self._closed = True
        for call_id in list(self._pending):
            self._fail(call_id, NodeClosed("the node was closed while the call was in flight"))
        self._deadlines.close()

    def _place(self, pending: _Pending, handle: Handle, entry: bytes) -> None:
        pending.handle = handle
        handle.outstanding += 1
        self._port.send_request(handle, entry)

    def _resend(self, call_id: int, pending: _Pending, handle: Handle) -> None:
        """Send the kept entry with what is left of the deadline."""
        if pending.entry is None:
            raise MeshError(f"call {call_id} has no entry to send again")
        request = self._port.unpack(pending.entry)
        left = pending.deadline - self._now()
        request[2] = min(max(0, int(left * 1000)), MAX_BUDGET_MS)
        self._place(pending, handle, self._port.pack(request))

    def _next_for(self, pending: _Pending, failed: Handle) -> Handle | None:
        """Another healthy member for a call that may be repeated; remembers ``failed``."""
        if pending.options.target is not None:
            return None
        if pending.tried is None:
            pending.tried = []
        if failed not in pending.tried:
            pending.tried.append(failed)
        return self._providers.pick(pending.method, pending.tried)

    def _move(self, call_id: int, pending: _Pending, other: Handle) -> None:
        if pending.handle is not None:
            pending.handle.outstanding -= 1
        self._resend(call_id, pending, other)

    def _await_provider(self, call_id: int, pending: _Pending) -> None:
        wait = pending.options.wait
        if wait is None:
            wait = self._grace_left()
        if wait <= 0:
            raise self._no_provider(pending.method)
        self._unplaced[call_id] = pending
        self._watch_until(call_id, pending, min(self._now() + wait, pending.deadline))

    def _watch_until(self, call_id: int, pending: _Pending, at: float) -> None:
        self._deadlines.discard(call_id, pending.tick)
        pending.tick = self._deadlines.add(call_id, at)

    def _no_provider(self, method: str) -> NoProvider:
        service, name = split_method(method)
        if not self._providers.count(service):
            return NoProvider(f"no reachable node provides the service {service!r}")
        methods = ", ".join(self._providers.methods(service)) or "none"
        return NoProvider(f"service {service!r} has no method {name!r}; its methods: {methods}")

    def _on_refusal(self, call_id: int, pending: _Pending, status: int, error: MeshError) -> None:
        """A peer answered without a value; one that did not start the call allows another try."""
        handle = pending.handle
        refused = status in (m.STATUS_OVERLOADED, m.STATUS_NO_METHOD)
        if refused and pending.options.retry and handle is not None:
            other = self._next_for(pending, handle)
            if other is not None:
                self._move(call_id, pending, other)
                return
        self._fail(call_id, error)

    def _on_deadline(self, key: Hashable) -> None:
        call_id = cast(int, key)
        pending = self._pending.get(call_id)
        if pending is None:
            return
        if self._unplaced.pop(call_id, None) is not None:
            self._fail(call_id, self._no_provider(pending.method))
            return
        where = "its peer"
        if pending.handle is not None:
            where = pending.handle.peer.name
            self._port.send_cancel(pending.handle, call_id)
        self._fail(
            call_id,
            CallTimeout(
                f"{pending.method}: no answer from {where} within {pending.options.timeout:g} s; "
                "it may have run"
            ),
        )

    def _forget(self, call_id: int) -> _Pending | None:
        pending = self._pending.pop(call_id, None)
        if pending is not None:
            self._bytes -= pending.size
            self._unplaced.pop(call_id, None)
            self._deadlines.discard(call_id, pending.tick)
            if pending.handle is not None:
                pending.handle.outstanding -= 1
        return pending

    def _fail(self, call_id: int, error: MeshError) -> None:
        pending = self._forget(call_id)
        if pending is not None and not pending.waiter.done():
            pending.waiter.set_exception(error)


def _error_of(status: int, entry: Any, method: str, sender: Handle) -> MeshError:
    """The error that a reply entry stands for."""
    texts = [text if isinstance(text, str) else "" for text in entry[2:5]]
    if status == m.STATUS_ERROR:
        kind, message, trace = texts
        return RemoteError(kind, message, trace, sender.peer)
    text = texts[0]
    if status == m.STATUS_BAD_REQUEST:
        return BadRequest(text)
    if status == m.STATUS_OVERLOADED:
        return Overloaded(text)
    if status == m.STATUS_EXPIRED:
        return CallTimeout(f"{method}: {text}")
    if status == m.STATUS_NO_METHOD:
        return NoProvider(text)
    return RemoteError("ProtocolError", f"unknown reply status {status!r}", "", sender.peer)
