"""The caller's side of request/reply.

Rules:

* Every call ends exactly once: by its reply, its deadline, the loss of its peer, cancellation,
  or ``close()``. The deadline covers everything, waiting for a provider included.
* At most once, unless ``retry``: a call that may have run is never sent again on its own.
* With ``retry`` the same arguments, as packed at the call, go to a member not tried yet, as soon
  as the peer is merely *suspect*; without it a suspect may still answer, and only a peer that is
  gone fails its calls. What was refused as overloaded is tried again after a pause. All of it is
  within the node's budget (``patterns.rpc.retries``).
* A keyed call goes to the key's owner by this node's view (``patterns.rpc.placement``). A peer that
  sees another owner says so and starts nothing, so following it is no second try; two such
  answers are followed at most.
* A peer that is about to leave says so and starts nothing: the call goes to another member, with
  or without ``retry``.
* A reply for a call that is no longer pending is dropped and counted.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any, cast

from patterns import messages as m
from patterns.errors import (
    CallTimeout,
    MeshError,
    NodeClosed,
    NoProvider,
    Overloaded,
    PeerLost,
)
from patterns.names import split_method
from patterns.port import Handle, RpcPort, Waiter
from patterns.rpc.hedging import Hedging
from patterns.rpc.in_flight import MAX_CALL_BYTES, MAX_CALLS, InFlight
from patterns.rpc.options import CallOptions
from patterns.rpc.outliers import Outliers
from patterns.rpc.pending import MAX_BUDGET_MS, Pending, error_of
from patterns.rpc.placement import FINAL, Placement
from patterns.rpc.providers import Providers
from patterns.rpc.retries import MAX_TRIES, PER_SECOND, SHARE, Retries

__all__ = ["MAX_CALLS", "MAX_CALL_BYTES", "RpcClient"]

DISAGREEMENT_PAUSE = 0.05
"""Seconds, about, until a call is placed anew that nobody would start: views agree within some
milliseconds when somebody comes, and within 0.3 s when somebody is killed."""

_SPENT = (
    f"not tried again: this node's budget for retries ({SHARE:.0%} of its calls and "
    f"{PER_SECOND:g}/s) is spent"
)


class RpcClient(InFlight):
    """Makes calls and matches their replies. ``grace_left()`` is the wait for first providers."""

    def __init__(
        self, port: RpcPort, providers: Providers, grace_left: Callable[[], float]
    ) -> None:
        super().__init__(port, providers)
        self._placement = Placement(port, providers)
        self._grace_left = grace_left
        self.retries = Retries(port.random, port.now())
        self.hedging = Hedging(port, self)
        self.outliers = Outliers(port, providers)
        self._closed = False
        self.late_replies = 0
        self.redirects_followed = 0
        """Answers that named another owner of a key, and were acted on."""
        self.taken_elsewhere = 0
        """Calls that a node which is about to leave did not start, and that went elsewhere."""

    def call(
        self,
        method: str,
        args: Sequence[Any],
        kwargs: dict[str, Any],
        options: CallOptions,
        waiter: Waiter,
        until: float | None = None,
    ) -> int:
        """Start a call; its outcome goes to ``waiter``. Returns its id, for ``cancel``.

        It ends by ``until``, a time of the clock, if that comes before its own deadline.
        Raises BadName, BadPayload, PayloadTooLarge, Overloaded, PeerLost (``peer=`` is gone),
        NoProvider, and CallTimeout when it is over already, at once.
        """
        if self._closed or len(self._pending) >= MAX_CALLS or self._bytes > MAX_CALL_BYTES:
            raise self._refusal()
        port = self._port
        redirects = 0
        if options.is_free:
            handle = self._providers.pick(method)
        elif options.legs:
            return self.hedging.call(method, args, kwargs, options, waiter, until)
        else:
            handle, redirects = self._chosen(method, options)
        self._last_id = call_id = self._last_id + 1
        seconds = options.timeout
        deadline = self._now() + seconds
        if until is not None and until < deadline:
            seconds, deadline = self._inherited(method, until), until
        budget_ms = min(int(seconds * 1000), MAX_BUDGET_MS)
        request: list[Any] = [call_id, method, budget_ms, args]
        if kwargs or not options.is_plain:
            request.append(kwargs)
            _add_options(request, options, redirects)
        entry = port.pack(request)
        if handle is None:
            split_method(method)
        tick = self._deadlines.add(call_id, deadline)
        pending = Pending(waiter, method, options, deadline, tick, entry, seconds)
        self._pending[call_id] = pending
        self._bytes += len(entry)
        if handle is not None:
            if redirects:
                pending.redirects = redirects
            self._place(pending, handle, entry)
        else:
            try:
                self._await_provider(call_id, pending)
            except NoProvider:
                self._forget(call_id)
                raise
        return call_id

    def cancel(self, call_id: int) -> None:
        """The caller gave up: the peer is told, and a late reply will be dropped."""
        if not self.hedging.cancel(call_id):
            self.drop(call_id)

    def on_replies(self, sender: Handle, entries: Iterable[Any]) -> int:
        """Settle calls by the reply entries of one frame; returns how many were malformed."""
        malformed = 0
        pending_calls = self._pending
        discard = self._deadlines.discard
        watched = self.outliers.watched
        measures = self.measures
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
                    self._bytes -= len(pending.entry)
                    discard(call_id, pending.tick)
                    sender.outstanding -= 1
                    if watched or measures is not None:
                        self._note_value(pending, sender)
                    if not pending.waiter.done():
                        pending.waiter.set_result(value)
                elif status == m.STATUS_MOVED and pending.may_move:
                    self._on_moved(call_id, pending, entry[2:3])
                elif status == m.STATUS_ELSEWHERE and pending.options.key is not None:
                    self._on_disagreement(call_id, pending, sender)
                elif status == m.STATUS_DRAINING and pending.may_go_elsewhere:
                    self._on_draining(call_id, pending, sender)
                else:
                    error = error_of(status, entry, pending.method, sender)
                    self.outliers.failed(pending, sender, error)
                    self._on_refusal(call_id, pending, status, error)
            except (TypeError, ValueError, IndexError, KeyError):
                malformed += 1
        return malformed

    def _note_value(self, pending: Pending, sender: Handle) -> None:
        self.outliers.answered(pending, sender)
        if self.measures is not None:
            self.measures.succeeded(pending.method, self._now() - pending.began_at)

    def on_providers_changed(self) -> None:
        """Somebody came, went or changed: place the calls that wait for a provider."""
        for call_id, pending in list(self._unplaced.items()):
            handle = self._pick(pending)
            if handle is not None:
                del self._unplaced[call_id]
                self._watch_until(call_id, pending, pending.deadline)
                self._resend(call_id, pending, handle)

    def on_suspect(self, handle: Handle) -> None:
        """The peer may be dying: calls that may be repeated go to somebody else, if there is."""
        self.hedging.on_suspect(handle)
        for call_id, pending in list(self._pending.items()):
            if pending.handle is handle and pending.options.retry:
                other = self._next_for(pending, handle)
                if other is not None and self._may_retry(pending, is_free=not pending.tries):
                    self._port.send_cancel(handle, call_id)
                    self._move(call_id, pending, other)

    def on_lost(self, handle: Handle, reason: str, ids: Iterable[int] | None = None) -> None:
        """The peer is gone, or (with ``ids``) has lost just these calls."""
        is_there = ids is not None
        if ids is None:
            ids = [call_id for call_id, p in self._pending.items() if p.handle is handle]
            self.outliers.forget(handle)
        for call_id in ids:
            pending = self._pending.get(call_id)
            if pending is None or pending.handle is not handle:
                continue
            if is_there:
                # It may have been under way when the peer was asked, and run there by now.
                self._port.send_cancel(handle, call_id)
            error = PeerLost(f"{pending.method}: {reason}")
            if is_there:
                self.outliers.failed(pending, handle, error)
            if not pending.options.retry or pending.options.target is not None:
                self._fail(call_id, error)
                continue
            is_first = not pending.tries
            if not self._may_retry(pending, is_free=is_first):
                self._fail(call_id, _told_so(error))
            elif is_first:
                self._try_another(call_id, pending, handle, error)
            else:
                self._pause(call_id, pending, handle, error)

    def pending(self, call_id: int) -> Pending:
        """What is known of a call that was just made; its ``handle`` stays when it has ended."""
        return self._pending[call_id]

    def close(self) -> None:
        """Fail all that is pending with NodeClosed."""
        self._closed = True
        for call_id in list(self._pending):
            self._fail(call_id, NodeClosed("the node was closed while the call was in flight"))
        self._deadlines.close()
        self._pauses.close()
        self._counted.close()
        self.outliers.close()

    def _refusal(self) -> MeshError:
        """Why no call is made now."""
        if self._closed:
            return NodeClosed("this node is closed")
        return Overloaded(
            f"{len(self._pending)} calls of {self._bytes} bytes are in flight from this node"
        )

    def _inherited(self, method: str, until: float) -> float:
        """What is left until then. Raises CallTimeout when that is nothing."""
        left = until - self._now()
        if left <= 0:
            raise CallTimeout(f"{method}: the call that its caller serves is over; not sent")
        return left

    def _chosen(self, method: str, options: CallOptions) -> tuple[Handle | None, int]:
        """Where a call goes that not any provider will do for, and the redirects it claims."""
        if options.target is not None:
            split_method(method)
            return options.target(), 0
        return self._placement.pick(method, options.canonical_key or b"")

    def _next_for(self, pending: Pending, failed: Handle) -> Handle | None:
        """Another healthy member for a call that may be repeated; remembers ``failed``."""
        if pending.options.target is not None:
            return None
        tried = pending.once_more().tried
        if failed not in tried:
            tried.append(failed)
        return self._pick(pending)

    def _pick(self, pending: Pending) -> Handle | None:
        """A member for a call that is not placed (any more), none of those it was tried at."""
        tried = () if pending.again is None else pending.again.tried
        key = pending.options.canonical_key
        if key is None:
            return self._providers.pick(pending.method, tried)
        handle, redirects = self._placement.pick(pending.method, key, tried)
        pending.redirects = max(pending.redirects, redirects)
        return handle

    def _unplace(self, call_id: int, pending: Pending, error: MeshError) -> None:
        """Wait for a provider, as a new call would; ``error`` ends it if there is no wait left."""
        if pending.handle is not None:
            pending.handle.outstanding -= 1
            pending.handle = None
        try:
            self._await_provider(call_id, pending)
        except NoProvider:
            self._fail(call_id, error)

    def _await_provider(self, call_id: int, pending: Pending) -> None:
        wait = pending.options.wait
        if wait is None:
            wait = self._grace_left()
        if wait <= 0:
            raise self._no_provider(pending.method)
        self._unplaced[call_id] = pending
        self._watch_until(call_id, pending, min(self._now() + wait, pending.deadline))

    def _no_provider(self, method: str) -> NoProvider:
        return self._providers.none_for(method)

    def _on_refusal(self, call_id: int, pending: Pending, status: int, error: MeshError) -> None:
        """A peer answered without a value; one that did not start the call allows another try."""
        handle = pending.handle
        if not pending.options.retry or pending.options.target is not None or handle is None:
            self._fail(call_id, error)
        elif status in (m.STATUS_NO_METHOD, m.STATUS_MOVED):
            # It never was the right one to ask, so this is no retry.
            other = self._next_for(pending, handle)
            if other is not None:
                self._move(call_id, pending, other)
            else:
                self._fail(call_id, error)
        elif status != m.STATUS_OVERLOADED or pending.tries >= MAX_TRIES - 1:
            self._fail(call_id, error)
        elif self._may_retry(pending):
            self._pause(call_id, pending, handle, error)
        else:
            self._fail(call_id, _told_so(error))

    def _may_retry(self, pending: Pending, *, is_free: bool = False) -> bool:
        """Whether one more try is within the budget; then it is counted."""
        is_allowed = self.retries.take(self._now(), self._last_id, is_free=is_free)
        pending.once_more().tries += is_allowed
        return is_allowed

    def _try_another(
        self, call_id: int, pending: Pending, failed: Handle, error: MeshError
    ) -> None:
        """Now; without another member it may wait for one, or ends with ``error``."""
        other = self._next_for(pending, failed)
        if other is not None:
            self._move(call_id, pending, other)
        else:
            error.args = (f"{error}; no other member",)
            self._unplace(call_id, pending, error)

    def _pause(self, call_id: int, pending: Pending, failed: Handle, error: MeshError) -> None:
        """Try again in a moment, elsewhere if there is another; no longer than the deadline."""
        at = self._now() + self.retries.pause(pending.tries)
        if at >= pending.deadline:
            self._fail(call_id, error)
            return
        self._next_for(pending, failed)
        failed.outstanding -= 1
        pending.handle = None
        again = pending.once_more()
        again.error = error
        again.pause_tick = self._pauses.add(call_id, at)

    def _on_pause_over(self, key: Hashable) -> None:
        call_id = cast(int, key)
        pending = self._pending.get(call_id)
        again = pending.again if pending is not None else None
        if pending is None or again is None or again.error is None:
            return
        error, again.error = again.error, None
        handle = self._pick(pending)
        if handle is None and isinstance(error, Overloaded):
            # All have been asked: once more, those that refused may have room by now.
            again.tried.clear()
            handle = self._pick(pending)
        if handle is not None:
            self._resend(call_id, pending, handle)
        else:
            self._unplace(call_id, pending, error)

    def _on_moved(self, call_id: int, pending: Pending, named: Sequence[Any]) -> None:
        """The peer started nothing: it sees another owner of the key, and names it.

        What cannot be followed is settled by asking the best node of this view to serve.
        """
        other = self._placement.named(pending.method, named[0]) if named else None
        if other is None or other is pending.handle:
            pending.redirects = FINAL
            other = self._pick(pending)
        else:
            pending.redirects += 1
        if other is None:
            self._unplace(call_id, pending, self._no_provider(pending.method))
            return
        self.redirects_followed += 1
        self._move(call_id, pending, other)

    def _on_disagreement(self, call_id: int, pending: Pending, handle: Handle) -> None:
        """It was to serve, and does not beside an owner that it sees: ask anew in a moment."""
        text = f"{pending.method}: the nodes do not agree on who owns the key; not started"
        at = self._now() + DISAGREEMENT_PAUSE * (0.5 + self._port.random.random())
        if at >= pending.deadline:
            self._fail(call_id, NoProvider(text))
            return
        handle.outstanding -= 1
        pending.handle = None
        pending.redirects = 0
        again = pending.once_more()
        again.tried.clear()
        again.error = NoProvider(text)
        again.pause_tick = self._pauses.add(call_id, at)

    def _on_draining(self, call_id: int, pending: Pending, handle: Handle) -> None:
        """The peer is about to leave and started nothing: another one, or who comes next."""
        self.taken_elsewhere += 1
        other = self._next_for(pending, handle)
        if other is not None:
            self._move(call_id, pending, other)
        else:
            self._unplace(call_id, pending, self._no_provider(pending.method))

    def _on_deadline(self, key: Hashable) -> None:
        call_id = cast(int, key)
        pending = self._pending.get(call_id)
        if pending is None:
            return
        if self._unplaced.pop(call_id, None) is not None:
            self._fail(call_id, self._no_provider(pending.method))
            return
        if pending.paused is not None:
            self._fail(call_id, pending.paused)
            return
        handle = pending.handle
        where = handle.peer.name if handle is not None else "its peer"
        error = CallTimeout(
            f"{pending.method}: no answer from {where} within {pending.seconds:g} s; "
            "it may have run"
        )
        if handle is not None:
            self._port.send_cancel(handle, call_id)
            self.outliers.failed(pending, handle, error)
        self._fail(call_id, error)


def _told_so(error: MeshError) -> MeshError:
    """The same error, that says why there was no other try."""
    error.args = (f"{error}; {_SPENT}",)
    return error


def _add_options(request: list[Any], options: CallOptions, redirects: int) -> None:
    """What follows the keywords; see ``patterns.messages``."""
    if options.opener is not None:
        request += (options.headers or {}, options.key, redirects, options.opener)
    elif options.key is not None:
        # The redirects even if 0, so that the entry does not grow when it is sent again.
        request += (options.headers or {}, options.key, redirects)
    elif options.headers:
        request.append(options.headers)
