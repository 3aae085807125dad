"""Requests of plain clients, as ordinary calls of this node; each gets exactly one reply.

Nothing is kept of a client but the number of its calls in flight, and each of those ends within
`CALL_TIMEOUT`. So one that vanishes is forgotten by itself; its replies are dropped and counted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from mesh.engine import Engine
from mesh.plain import wire
from mesh.wire.codec import Codec
from mesh.wire.frames import BadFrame
from patterns.errors import BadPayload, BadRequest, MeshError, Overloaded, PayloadTooLarge
from patterns.rpc import CallOptions

__all__ = ["CALL_TIMEOUT", "MAX_CALLS", "MAX_CALLS_PER_CLIENT", "PlainCalls"]

CALL_TIMEOUT = 5.0
"""Seconds for a call; the default of all calls."""

MAX_CALLS = 128
"""Calls in flight for all plain clients: with the largest arguments these take 128 MiB."""

MAX_CALLS_PER_CLIENT = 16
"""For one connection, so that a greedy client leaves something to the others. A REQ has one."""

_OPTIONS = CallOptions(timeout=CALL_TIMEOUT)


class PlainCalls:
    """``reply(client, parts)`` sends, and says whether it could."""

    def __init__(
        self,
        engine: Engine,
        codec: Codec,
        reply: Callable[[bytes, Sequence[bytes]], bool],
        count: Callable[[str], None],
    ) -> None:
        self._engine = engine
        self._codec = codec
        self._reply = reply
        self._count = count
        self._in_flight: dict[bytes, int] = {}
        self._total = 0

    def on_request(self, client: bytes, parts: Sequence[bytes]) -> None:
        """Begin the call that a client asks for, or say why not."""
        envelope = [b""]
        try:
            envelope, body = wire.split_envelope(parts)
            request = wire.unpack_request(body, self._codec)
            self._check_room(client)
        except BadFrame as error:
            self._count("plain_malformed_requests")
            self._answer(client, envelope, wire.pack_error(BadRequest(str(error)), self._codec))
            return
        except Overloaded as error:
            self._count("plain_overloaded")
            self._answer(client, envelope, wire.pack_error(error, self._codec))
            return
        self._begin(_PlainCall(self, client, envelope), request)

    def _check_room(self, client: bytes) -> None:
        if self._total >= MAX_CALLS or self._in_flight.get(client, 0) >= MAX_CALLS_PER_CLIENT:
            raise Overloaded(
                f"{self._total} calls of plain clients are in flight here, "
                f"{self._in_flight.get(client, 0)} of yours"
            )

    def _begin(self, call: _PlainCall, request: wire.PlainRequest) -> None:
        self._total += 1
        self._in_flight[call.client] = self._in_flight.get(call.client, 0) + 1
        try:
            self._engine.call(request.method, request.args, request.kwargs, _OPTIONS, call)
        except MeshError as error:
            call.set_exception(error)

    def end(self, call: _PlainCall, answer: list[bytes]) -> None:
        """A call has its outcome."""
        self._total -= 1
        left = self._in_flight[call.client] - 1
        if left:
            self._in_flight[call.client] = left
        else:
            del self._in_flight[call.client]
        self._answer(call.client, call.envelope, answer)

    def value(self, value: Any) -> list[bytes]:
        try:
            return wire.pack_value(value, self._codec)
        except (BadPayload, PayloadTooLarge) as error:
            return wire.pack_error(error, self._codec)

    def error(self, error: BaseException) -> list[bytes]:
        return wire.pack_error(error, self._codec)

    def _answer(self, client: bytes, envelope: list[bytes], answer: list[bytes]) -> None:
        if not self._reply(client, envelope + answer):
            self._count("plain_replies_dropped")

    def __len__(self) -> int:
        return self._total


class _PlainCall:
    """One call in flight; ``patterns.port.Waiter``."""

    __slots__ = ("_calls", "_is_done", "client", "envelope")

    def __init__(self, calls: PlainCalls, client: bytes, envelope: list[bytes]) -> None:
        self._calls = calls
        self.client = client
        self.envelope = envelope
        self._is_done = False

    def done(self) -> bool:
        return self._is_done

    def set_result(self, result: Any, /) -> None:
        self._is_done = True
        self._calls.end(self, self._calls.value(result))

    def set_exception(self, exception: BaseException, /) -> None:
        self._is_done = True
        self._calls.end(self, self._calls.error(exception))
