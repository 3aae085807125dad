"""The calls of one node that have not ended: what is kept of each, and that it is all given back.

``RpcClient`` decides where calls go and what an answer means; here they are counted, watched until
their deadline, sent (again) and ended.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable
from typing import cast

from patterns.deadlines import Deadlines
from patterns.errors import MeshError
from patterns.port import Handle, RpcPort, Waiter
from patterns.rpc.measures import Measures
from patterns.rpc.options import CallOptions
from patterns.rpc.pending import MAX_BUDGET_MS, Pending
from patterns.rpc.providers import Providers

__all__ = ["MAX_CALLS", "MAX_CALL_BYTES", "InFlight"]

MAX_CALLS = 65_536
"""Calls in flight from one node: past this the caller is far behind its own demand."""

MAX_CALL_BYTES = 256 * 1024 * 1024
"""Packed requests in flight from one node; a peer that is away can make us keep all of them."""

_REDIRECTS = 7
"""Where a keyed request says how many redirects it has behind it."""


class InFlight:
    """The table of calls. ``_on_deadline`` and ``_on_pause_over`` are told when a time is over."""

    def __init__(self, port: RpcPort, providers: Providers) -> None:
        self._port = port
        self._now = port.now
        self._providers = providers
        self._pending: dict[int, Pending] = {}
        self._unplaced: dict[int, Pending] = {}
        self.measures: Measures | None = None
        """Of the calls that were made; None until somebody asks."""
        self.sent_again: Callable[[int, Handle, Handle | None], None] | None = None
        """(call, to, from) of those that are sent once more: tried again, moved, or hedged."""
        self._last_id = 0
        self._bytes = 0
        self._deadlines = Deadlines(port.now, port.call_later, self._on_deadline)
        self._pauses = Deadlines(port.now, port.call_later, self._on_pause_over)
        self._counted = Deadlines(port.now, port.call_later, self._on_counted)
        """Calls that have ended and still count as outstanding at their peer."""

    def _on_deadline(self, key: Hashable) -> None:
        raise NotImplementedError

    def _on_pause_over(self, key: Hashable) -> None:
        raise NotImplementedError

    def in_flight_at(self, handle: Handle) -> list[int]:
        """The ids of the calls sent there and not answered."""
        return [call_id for call_id, p in self._pending.items() if p.handle is handle]

    def in_flight(self) -> Counter[str]:
        """How many calls of each method have not ended."""
        return Counter(pending.method for pending in self._pending.values())

    def __len__(self) -> int:
        return len(self._pending)

    # One call as two: see ``patterns.rpc.hedging``.

    def spare_for(self, call_id: int) -> Handle | None:
        """Another member that a call under way may go to as well, if there is room for one more."""
        pending = self._pending.get(call_id)
        if pending is None or pending.handle is None:
            return None
        if len(self._pending) >= MAX_CALLS or self._bytes > MAX_CALL_BYTES:
            return None
        tried = () if pending.again is None else pending.again.tried
        return self._providers.spare(pending.method, (pending.handle, *tried))

    def send_also(self, call_id: int, other: Handle, options: CallOptions, waiter: Waiter) -> int:
        """A call under way goes to another member as well; returns its id there.

        ``options`` are those of both from now on, and neither will be sent to where the other is.
        """
        first = self._pending[call_id]
        self._last_id = also_id = self._last_id + 1
        tick = self._deadlines.add(also_id, first.deadline)
        also = Pending(
            waiter, first.method, options, first.deadline, tick, first.entry, first.seconds
        )
        self._pending[also_id] = also
        self._bytes += len(also.entry)
        also.once_more().tried += () if first.handle is None else (first.handle,)
        first.once_more().tried.append(other)
        first.options = options
        if self.sent_again is not None:
            self.sent_again(call_id, other, None)
        self._resend(also_id, also, other)
        return also_id

    def go_on(self, call_id: int, options: CallOptions) -> None:
        """A call has these options from now on."""
        self._pending[call_id].options = options

    def is_at(self, call_id: int, handle: Handle) -> bool:
        """Whether a call is under way there."""
        pending = self._pending.get(call_id)
        return pending is not None and pending.handle is handle

    def drop(self, call_id: int, count_for: float = 0.0) -> None:
        """Forget a call; the peer is told, and a late reply will be dropped.

        It goes on to count as outstanding there for so many seconds.
        """
        pending = self._forget(call_id)
        if pending is None or pending.handle is None:
            return
        self._port.send_cancel(pending.handle, call_id)
        if count_for:
            pending.handle.outstanding += 1
            self._counted.add(pending, self._now() + count_for)

    def _on_counted(self, key: Hashable) -> None:
        handle = cast(Pending, key).handle
        if handle is not None:
            handle.outstanding -= 1

    # Sending.

    def _place(self, pending: Pending, handle: Handle, entry: bytes) -> None:
        pending.handle = handle
        handle.outstanding += 1
        self._port.send_request(handle, entry)

    def _resend(self, call_id: int, pending: Pending, handle: Handle) -> None:
        """Send the kept entry with what is left of the deadline."""
        if self.sent_again is not None:
            self.sent_again(call_id, handle, pending.handle)
        request = self._port.unpack(pending.entry)
        left = pending.deadline - self._now()
        request[0] = call_id
        request[2] = min(max(0, int(left * 1000)), MAX_BUDGET_MS)
        if pending.options.key is not None:
            request[_REDIRECTS] = pending.redirects
        self._place(pending, handle, self._port.pack(request))

    def _move(self, call_id: int, pending: Pending, other: Handle) -> None:
        if pending.handle is not None:
            pending.handle.outstanding -= 1
        self._resend(call_id, pending, other)

    def _watch_until(self, call_id: int, pending: Pending, at: float) -> None:
        self._deadlines.discard(call_id, pending.tick)
        pending.tick = self._deadlines.add(call_id, at)

    # The end.

    def _forget(self, call_id: int) -> Pending | None:
        pending = self._pending.pop(call_id, None)
        if pending is not None:
            self._bytes -= len(pending.entry)
            self._unplaced.pop(call_id, None)
            self._deadlines.discard(call_id, pending.tick)
            if pending.again is not None and pending.again.error is not None:
                self._pauses.discard(call_id, pending.again.pause_tick)
            if pending.handle is not None:
                pending.handle.outstanding -= 1
        return pending

    def _fail(self, call_id: int, error: MeshError) -> None:
        pending = self._forget(call_id)
        if pending is None:
            return
        if self.measures is not None and pending.handle is not None:
            # What was sent to nobody may have any name.
            self.measures.failed(pending.method)
        if not pending.waiter.done():
            pending.waiter.set_exception(error)
