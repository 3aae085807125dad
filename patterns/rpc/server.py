"""The server's side of request/reply.

Rules:

* A request whose deadline has passed, or whose caller has given up, is not started.
* At most ``concurrency`` of a method run at once; up to ``MAX_WAITING`` wait in line, in order;
  past that the answer is *overloaded*, at once, and nothing was started.
* Every request gets exactly one answer, whatever the handler does.
* A plain function marked ``inline`` runs here and now, so the whole frame is served in one pass.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterable, Sequence
from typing import Any

from patterns import messages as m
from patterns.errors import BadPayload, BadRequest, ConfigError, PayloadTooLarge
from patterns.names import check_name
from patterns.port import Handle, RpcPort, Runner, Running
from patterns.rpc.method import Method, Request

__all__ = ["MAX_WAITING", "RpcServer"]

logger = logging.getLogger("mesh.rpc")

MAX_WAITING = 1024
"""Requests of one method that wait for a free slot: about a deadline's worth at 200 calls/s."""

MAX_MALFORMED = 16
"""Malformed entries after which the rest of a frame is not looked at: it is no honest one."""

MAX_TEXT_CHARS = 8000
"""A remote text is for reading; a recursion's traceback is not worth megabytes on the wire."""


class _Job:
    """One accepted request; ``__call__`` is where its outcome arrives."""

    __slots__ = ("args", "call_id", "caller", "deadline", "headers", "kwargs",
                 "method", "route", "running", "server")  # fmt: skip

    running: Running | None

    def __init__(
        self,
        server: RpcServer,
        method: Method,
        call_id: int,
        args: Sequence[Any],
        kwargs: dict[str, Any],
        headers: dict[str, str],
        deadline: float,
        caller: Handle,
        route: Any,
    ) -> None:
        self.server = server
        self.method = method
        self.call_id = call_id
        self.args = args
        self.kwargs = kwargs
        self.headers = headers
        self.deadline = deadline
        self.caller = caller
        self.route = route
        self.running = None

    def __call__(self, value: Any, error: BaseException | None) -> None:
        self.server._finish(self, value, error)


class RpcServer:
    """Serves methods. ``methods`` maps "service.method" to what runs."""

    def __init__(self, port: RpcPort, runner: Runner) -> None:
        self._port = port
        self._now = port.now
        self._runner = runner
        self.methods: dict[str, Method] = {}
        self._waiting: dict[Method, dict[_Job, None]] = {}
        self._starting: set[Method] = set()
        self._jobs: dict[tuple[bytes, int], _Job] = {}
        self._closed = False
        self.expired = 0

    def add(self, service: str, method: Method) -> None:
        """Serve ``method`` under "service.name"; ConfigError when that name is taken."""
        check_name("service", service)
        check_name("method", method.name)
        name = f"{service}.{method.name}"
        if name in self.methods:
            raise ConfigError(f"the method {name!r} is served already; give one another name")
        self.methods[name] = method

    def on_requests(self, caller: Handle, route: Any, entries: Iterable[Any]) -> int:
        """Serve the request entries of one frame; returns how many were malformed."""
        malformed = 0
        now = self._now()
        for entry in entries:
            try:
                is_request = self._serve(caller, route, entry, now)
            except Exception:
                # A fault of ours in one request must not cost the others of its frame.
                logger.exception("a request of %s could not be served", caller.peer)
                is_request = False
            if not is_request:
                malformed += 1
                if malformed > MAX_MALFORMED:
                    break
        return malformed

    def _serve(self, caller: Handle, route: Any, entry: Any, now: float) -> bool:
        """Serve one request entry; False when it is malformed."""
        try:
            call_id, name, budget_ms, args = entry[0], entry[1], entry[2], entry[3]
            kwargs = entry[4] if len(entry) > 4 else {}
            headers = entry[5] if len(entry) > 5 else {}
        except (TypeError, IndexError, KeyError):
            return False
        if not (
            type(call_id) is int
            and type(name) is str
            and type(budget_ms) is int
            and type(args) is list
            and type(kwargs) is dict
            and type(headers) is dict
        ):
            return False
        method = self.methods.get(name)
        if method is None:
            self._refuse(route, call_id, m.STATUS_NO_METHOD, self._unknown(name))
            return True
        try:
            args, kwargs = method.check(args, kwargs)
        except BadRequest as error:
            self._refuse(route, call_id, m.STATUS_BAD_REQUEST, str(error))
            return True
        if method.inline and not method.wants_request:
            if self._now() - now < budget_ms / 1000:
                self._serve_inline(method, route, call_id, args, kwargs)
            else:
                self._refuse_expired(route, call_id)
            return True
        deadline = now + budget_ms / 1000
        self._admit(_Job(self, method, call_id, args, kwargs, headers, deadline, caller, route))
        return True

    def cancel(self, caller: bytes, call_ids: Iterable[Any]) -> None:
        """The caller has given up on these: what waits is not started, a coroutine is cancelled.

        A plain function that runs in the pool ends on its own; its result goes nowhere.
        """
        for call_id in call_ids:
            if type(call_id) is not int:
                continue
            job = self._jobs.pop((caller, call_id), None)
            if job is not None:
                self._waiting.get(job.method, {}).pop(job, None)
                if job.running is not None:
                    job.running.cancel()

    def running_of(self, caller: bytes) -> set[int]:
        """The ids of this caller's requests that run or wait here."""
        return {call_id for peer, call_id in self._jobs if peer == caller}

    def __len__(self) -> int:
        return len(self._jobs)

    def close(self) -> None:
        """Start nothing more, cancel coroutines that run; callers learn it from the goodbye."""
        self._closed = True
        self._waiting.clear()
        for job in list(self._jobs.values()):
            if job.running is not None:
                job.running.cancel()
        self._jobs.clear()

    def _serve_inline(
        self, method: Method, route: Any, call_id: int, args: Sequence[Any], kwargs: dict[str, Any]
    ) -> None:
        try:
            value = method.function(*args, **kwargs)
        except BaseException as error:  # noqa: BLE001  a handler cannot end the node
            self._reply_error(route, method.name, call_id, error)
            return
        self._reply(route, method.name, call_id, value)

    def _admit(self, job: _Job) -> None:
        if self._closed:
            return
        method = job.method
        if method.running < method.concurrency:
            self._jobs[job.caller.id, job.call_id] = job
            self._start(job)
            return
        line = self._waiting.setdefault(method, {})
        if len(line) >= MAX_WAITING:
            text = f"{method.name}: {method.concurrency} calls run and {MAX_WAITING} wait already"
            self._refuse(job.route, job.call_id, m.STATUS_OVERLOADED, text)
            return
        self._jobs[job.caller.id, job.call_id] = job
        line[job] = None

    def _start(self, job: _Job) -> None:
        method = job.method
        left = job.deadline - self._now()
        if left <= 0:
            self._jobs.pop((job.caller.id, job.call_id), None)
            self._refuse_expired(job.route, job.call_id)
            return
        args, kwargs = job.args, job.kwargs
        if method.wants_request:
            request = Request(job.caller.peer, left, job.headers)
            args, kwargs = method.inject(args, kwargs, request)
        method.running += 1
        if method.inline:
            try:
                value, error = method.function(*args, **kwargs), None
            except BaseException as caught:  # noqa: BLE001  a handler cannot end the node
                value, error = None, caught
            self._finish(job, value, error)
            return
        job.running = self._runner.start(method.function, args, kwargs, method.is_async, job)

    def _finish(self, job: _Job, value: Any, error: BaseException | None) -> None:
        method = job.method
        method.running -= 1
        if self._jobs.pop((job.caller.id, job.call_id), None) is not None:
            if error is None:
                self._reply(job.route, method.name, job.call_id, value)
            else:
                self._reply_error(job.route, method.name, job.call_id, error)
        self._start_waiting(method)

    def _start_waiting(self, method: Method) -> None:
        # A handler that ends at once comes back here from within ``_start``: one loop is enough.
        line = self._waiting.get(method)
        if line is None or method in self._starting:
            return
        self._starting.add(method)
        try:
            while line and method.running < method.concurrency:
                job = next(iter(line))
                del line[job]
                self._start(job)
        finally:
            self._starting.discard(method)
        if not line:
            self._waiting.pop(method, None)

    def _reply(self, route: Any, name: str, call_id: int, value: Any) -> None:
        try:
            entry = self._port.pack([call_id, m.STATUS_OK, value])
        except (BadPayload, PayloadTooLarge) as error:
            self._reply_error(route, name, call_id, error)
            return
        self._port.send_reply(route, entry)

    def _reply_error(self, route: Any, name: str, call_id: int, error: BaseException) -> None:
        kind, message = type(error).__name__, _text_of(error)
        logger.warning("%s raised %s: %s", name, kind, message, exc_info=error)
        trace = _sendable("".join(traceback.format_exception(error))[-MAX_TEXT_CHARS:])
        reply = [call_id, m.STATUS_ERROR, kind, message, trace]
        self._port.send_reply(route, self._port.pack(reply))

    def _refuse_expired(self, route: Any, call_id: int) -> None:
        self.expired += 1
        text = "the deadline had passed before the call was started"
        self._refuse(route, call_id, m.STATUS_EXPIRED, text)

    def _refuse(self, route: Any, call_id: int, status: int, text: str) -> None:
        self._port.send_reply(route, self._port.pack([call_id, status, _sendable(text)]))

    def _unknown(self, name: str) -> str:
        prefix = name.partition(".")[0] + "."
        known = ", ".join(n[len(prefix) :] for n in self.methods if n.startswith(prefix)) or "none"
        return f"this node has no method {name!r:.140}; its methods of that service: {known}"


def _text_of(error: BaseException) -> str:
    try:
        text = str(error)
    except Exception as failure:  # noqa: BLE001  a text is needed, whatever its author wrote
        text = f"<its text cannot be made: {type(failure).__name__}>"
    return _sendable(text)


def _sendable(text: str) -> str:
    """A text that always packs: bounded, and without the lone surrogates of odd file names."""
    return text[:MAX_TEXT_CHARS].encode("utf-8", "backslashreplace").decode()
