"""The server's side of request/reply.

Rules:

* A request whose deadline has passed, or whose caller has given up, is not started.
* At most ``concurrency`` of a method run at once; others wait in line, in order, as long as they
  can be expected to end within their deadlines, and no more than ``MAX_WAITING``; all others are
  answered *overloaded*, at once, and not started. So work is done for callers that still wait.
* When a caller is gone, what it asked for is cancelled, or not started.
* Every request gets exactly one answer, whatever the handler does.
* A plain function marked ``inline`` runs here and now, so the whole frame is served in one pass.
* A server that drains starts nothing; callers are told, and ask another node.
* A keyed request that belongs to another node by this one's view is answered with that node's id,
  and not started; unless it is final: then it is served, and counted.
* Keyed calls of a service with a tenure pass a gate (``patterns.rpc.gate``) before anything else.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from patterns import messages as m
from patterns.errors import (
    BadName,
    BadRequest,
    ConfigError,
    NodeClosed,
    Overloaded,
)
from patterns.keys import key_bytes, slot_of
from patterns.logs import get_logger
from patterns.names import check_name, is_reserved_method
from patterns.ownership.tenure import Tenure
from patterns.port import Handle, RpcPort, Runner
from patterns.rpc.answering import Answering
from patterns.rpc.gate import Gate, NotHere, OwnedJob
from patterns.rpc.job import Job
from patterns.rpc.measures import Measures
from patterns.rpc.method import Method, Request
from patterns.rpc.placement import FINAL, Placement
from patterns.rpc.providers import Providers

if TYPE_CHECKING:
    from patterns.streams.serving import StreamServer

__all__ = ["MAX_WAITING", "RpcServer"]

logger = get_logger("mesh.rpc")

MAX_WAITING = 1024
"""Requests of one method that wait for a free slot: about a deadline's worth at 200 calls/s."""

ADMITTED_SHARE = 0.8
"""Of its deadline, what a call may be expected to take here; the rest is for the way, and for those
that take longer than the mean."""

_OPENER = 8
"""Where a request for a stream has the window and era of its caller; others end before."""

MAX_MALFORMED = 16
"""Malformed entries after which the rest of a frame is not looked at: it is no honest one."""


class RpcServer(Answering):
    """Serves methods. ``methods`` maps "service.method" to what runs."""

    def __init__(self, port: RpcPort, runner: Runner, providers: Providers) -> None:
        super().__init__(port)
        self._now = port.now
        self._runner = runner
        self._placement = Placement(port, providers)
        self._waiting: dict[Method, dict[Job, None]] = {}
        self._starting: set[Method] = set()
        self.gate = Gate(self, port, self._placement)
        self._tenures: dict[str, Tenure] = {}
        self._jobs: dict[tuple[bytes, int], Job] = {}
        self._closed = False
        self.streams: StreamServer
        """Takes the requests for streams."""

    def add(self, service: str, method: Method) -> None:
        """Serve ``method`` under "service.name"; ConfigError when that name is taken."""
        check_name("service", service)
        check_name("method", method.name)
        name = f"{service}.{method.name}"
        if name in self.methods:
            raise ConfigError(f"the method {name!r} is served already; give one another name")
        self.methods[name] = method
        method.full_name = name
        method.tenure = self._tenures.get(service)

    def govern(self, tenure: Tenure) -> None:
        """Keyed calls of that service begin only where and when the tenure lets them."""
        self._tenures[tenure.service] = tenure
        for name, method in self.methods.items():
            if name.partition(".")[0] == tenure.service:
                method.tenure = tenure
        tenure.changed.append(lambda: self.gate.reconsider(tenure))

    def on_requests(
        self, caller: Handle, route: Any, entries: Iterable[Any], arrived_at: float | None = None
    ) -> int:
        """Serve request entries of one frame; returns how many were malformed.

        Their deadlines count from ``arrived_at`` on the clock, None for now.
        """
        malformed = 0
        now = self._now() if arrived_at is None else arrived_at
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
            kwargs, headers, key = ({}, {}, None) if len(entry) == 4 else _options_of(entry)
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
            self._refuse_unknown(route, call_id, name)
            return True
        if key is not None and self._turns_away(route, entry):
            return True
        if len(entry) > _OPENER:
            call = args, kwargs, headers, key
            self._take_stream(method, caller, route, entry, call)
            return True
        try:
            args, kwargs = method.check(args, kwargs)
        except BadRequest as error:
            self._refuse(route, call_id, m.STATUS_BAD_REQUEST, str(error))
            return True
        if method.tenure is not None and key is not None:
            self._serve_owned(method, call_id, args, kwargs, headers, now, caller, route, entry)
            return True
        if method.inline and not (method.wants_request or headers or self.is_observed):
            if self._now() - now < budget_ms / 1000:
                self._serve_inline(method, route, call_id, args, kwargs)
            else:
                self._refuse_expired(route, call_id)
            return True
        deadline = now + budget_ms / 1000
        self.admit(Job(self, method, call_id, args, kwargs, headers, deadline, caller, route, key))
        return True

    def _take_stream(
        self, method: Method, caller: Handle, route: Any, entry: Sequence[Any], call: Any
    ) -> None:
        """A request for a stream: its answer is this side's window, and its number the stream's."""
        call_id, name, budget_ms, opener = entry[0], entry[1], entry[2], entry[_OPENER]
        if budget_ms <= 0:
            self._refuse_expired(route, call_id)
            return
        try:
            own = self.streams.start(name, method, caller, call_id, opener, call, budget_ms / 1000)
        except BadRequest as error:
            self._refuse(route, call_id, m.STATUS_BAD_REQUEST, str(error))
        except Overloaded as error:
            self.refused += 1
            self._refuse(route, call_id, m.STATUS_OVERLOADED, str(error))
        except NodeClosed:
            self._hand_on(route, call_id)
        else:
            self._reply(route, name, call_id, own)

    def _serve_owned(
        self,
        method: Method,
        call_id: int,
        args: Sequence[Any],
        kwargs: dict[str, Any],
        headers: dict[str, str],
        now: float,
        caller: Handle,
        route: Any,
        entry: Sequence[Any],
    ) -> None:
        tenure, key = method.tenure, entry[6]
        if tenure is None or self._closed:
            return
        form = key_bytes(key)
        is_final = len(entry) > 7 and not (type(entry[7]) is int and entry[7] < FINAL)
        parts = self, method, call_id, args, kwargs, headers, now + entry[2] / 1000
        job = OwnedJob(tenure, form, slot_of(form), entry[1], is_final, *parts, caller, route, key)
        self.gate.arrive(job)

    def _turns_away(self, route: Any, entry: Sequence[Any]) -> bool:
        """Whether a keyed request was answered without serving it: its key belongs elsewhere."""
        call_id, name, key = entry[0], entry[1], entry[6]
        redirects = entry[7] if len(entry) > 7 else 0
        try:
            form = key_bytes(key)
        except BadName as error:
            self._refuse(route, call_id, m.STATUS_BAD_REQUEST, str(error))
            return True
        owner = self._placement.better(name, form)
        if owner is None:
            return False
        if type(redirects) is not int or redirects >= FINAL:
            self.served_for_others += 1
            return False
        self._send_moved(route, call_id, owner)
        return True

    # What the gate needs.

    def keep(self, job: Job) -> None:
        """It is here, and has not been started."""
        self._jobs[job.caller.id, job.call_id] = job

    def has(self, job: Job) -> bool:
        """Whether its caller still waits for it."""
        return self._jobs.get((job.caller.id, job.call_id)) is job

    def move(self, job: Job, owner: Handle) -> None:
        """Answer that its key is that node's; nothing was started."""
        self._jobs.pop((job.caller.id, job.call_id), None)
        self._send_moved(job.route, job.call_id, owner)

    def refuse(self, job: Job, status: int, text: str) -> None:
        """Answer it so; nothing was started."""
        self._jobs.pop((job.caller.id, job.call_id), None)
        self.refused += status == m.STATUS_OVERLOADED
        self._refuse(job.route, job.call_id, status, text)

    def take_waiting(self, tenure: Tenure) -> list[OwnedJob]:
        """Out of the lines of its methods: those that may not start any more."""
        taken = []
        for method, line in self._waiting.items():
            if method.tenure is tenure:
                gone = [j for j in line if isinstance(j, OwnedJob) and not j.may_start]
                for job in gone:
                    del line[job]
                taken += gone
        return taken

    def abandon_owned(self) -> None:
        """This node leaves now: what runs on slots that go to others is cancelled before."""
        for job in [job for job in self._jobs.values() if isinstance(job, OwnedJob)]:
            del self._jobs[job.caller.id, job.call_id]
            if job.running is not None:
                job.running.cancel()

    def cancel(self, caller: bytes, call_ids: Iterable[Any]) -> None:
        """The caller has given up on these: what waits is not started, a coroutine is cancelled.

        A plain function that runs in the pool ends on its own; its result goes nowhere.
        """
        for call_id in call_ids:
            if type(call_id) is not int:
                continue
            job = self._jobs.pop((caller, call_id), None)
            if job is None:
                self.streams.give_up(caller, call_id)
            else:
                self._waiting.get(job.method, {}).pop(job, None)
                if job.running is not None:
                    job.running.cancel()

    def caller_gone(self, caller: bytes) -> None:
        """It has failed or left: nobody waits for what it asked for."""
        self.cancel(caller, self.running_of(caller))

    def drain(self) -> None:
        """Start nothing more: what waits, and what comes, is for another node; what runs ends."""
        self._is_draining = True
        # So that a request costs nothing more than before: there is no method to be found.
        self.methods = {n: m for n, m in self.methods.items() if is_reserved_method(n)}
        waiting, self._waiting = self._waiting, {}
        for line in waiting.values():
            for job in line:
                del self._jobs[job.caller.id, job.call_id]
                self._hand_on(job.route, job.call_id)
        for job in self.gate.drain():
            del self._jobs[job.caller.id, job.call_id]
            self._hand_on(job.route, job.call_id)

    def running(self) -> Counter[str]:
        """How many calls of each method are here; of the mesh's own methods none."""
        return Counter(self._running())

    def _running(self) -> list[str]:
        names = [job.method.full_name for job in self._jobs.values()]
        names += self.streams.running.values()
        return [name for name in names if not is_reserved_method(name)]

    def waiting(self) -> Counter[str]:
        """How many calls wait in line, by "service.method"."""
        return Counter({method.full_name: len(line) for method, line in self._waiting.items()})

    def running_of(self, caller: bytes) -> set[int]:
        """The ids of this caller's requests that run or wait here."""
        return {call_id for peer, call_id in self._jobs if peer == caller}

    def __len__(self) -> int:
        return len(self._running())

    def close(self) -> None:
        """Start nothing more, cancel coroutines that run; callers learn it from the goodbye."""
        self._closed = True
        self.gate.close()
        self._waiting.clear()
        for job in list(self._jobs.values()):
            if job.running is not None:
                job.running.cancel()
        self._jobs.clear()
        self.streams.close()

    def _serve_inline(
        self, method: Method, route: Any, call_id: int, args: Sequence[Any], kwargs: dict[str, Any]
    ) -> None:
        if self.measures is not None:
            self._serve_measured(self.measures, method, route, call_id, args, kwargs)
            return
        try:
            value = method.function(*args, **kwargs)
        except BaseException as error:  # noqa: BLE001  a handler cannot end the node
            self._reply_error(route, method.name, call_id, error)
            return
        self._reply(route, method.name, call_id, value)

    def admit(self, job: Job) -> None:
        """Start it now, have it wait in line, or refuse it."""
        if self._closed:
            return
        method = job.method
        if method.running < method.concurrency:
            self._jobs[job.caller.id, job.call_id] = job
            self._start(job)
            return
        line = self._waiting.setdefault(method, {})
        expected = method.expected(len(line))
        left = job.deadline - self._now()
        if len(line) >= MAX_WAITING or expected > left * ADMITTED_SHARE:
            self.refused += 1
            text = (
                f"{method.name}: {method.concurrency} calls run and {len(line)} wait already; "
                f"another would take some {expected:.3g} s and has {left:.3g}"
            )
            self._jobs.pop((job.caller.id, job.call_id), None)
            self._refuse(job.route, job.call_id, m.STATUS_OVERLOADED, text)
            return
        self._jobs[job.caller.id, job.call_id] = job
        line[job] = None

    def _start(self, job: Job) -> None:
        method = job.method
        job.started_at = now = self._now()
        left = job.deadline - now
        if left <= 0:
            self._jobs.pop((job.caller.id, job.call_id), None)
            self._refuse_expired(job.route, job.call_id)
            return
        args, kwargs, fence = job.args, job.kwargs, None
        if isinstance(job, OwnedJob):
            if not job.may_start:
                self.gate.arrive(job)
                return
            job.tenure.began(job.slot)
            fence = job.tenure.fence(job.slot)
        if method.wants_request:
            request = Request(job.caller.peer, left, job.headers, job.key, fence)
            args, kwargs = method.inject(args, kwargs, request)
        method.running += 1
        function = method.function
        if job.headers or self.is_observed:
            function = self.observe(job, function)
        if method.inline:
            try:
                value, error = function(*args, **kwargs), None
            except BaseException as caught:  # noqa: BLE001  a handler cannot end the node
                value, error = None, caught
            self.finish(job, value, error)
            return
        job.running = self._runner.start(function, args, kwargs, method.is_async, job, job)

    def finish(self, job: Job, value: Any, error: BaseException | None) -> None:
        """The outcome of a job that was started."""
        method = job.method
        method.running -= 1
        # No longer than its caller would wait: the rest was a pause of this process, a sleep of the
        # machine, and calls would be refused for it long after.
        method.took(min(self._now(), job.deadline) - job.started_at)
        job.until = None
        if job.observed is not None:
            job.observed(error)
        if self.measures is not None:
            self._measure(self.measures, job, error)
        if isinstance(job, OwnedJob):
            job.tenure.ended(job.slot)
            if isinstance(error, NotHere) and self.has(job):
                self._begun_nothing(job)
                self._start_waiting(method)
                return
        if self._jobs.pop((job.caller.id, job.call_id), None) is not None:
            if error is None:
                self._reply(job.route, method.name, job.call_id, value)
            else:
                self._reply_error(job.route, method.name, job.call_id, error)
        self._start_waiting(method)

    def _serve_measured(
        self,
        measures: Measures,
        method: Method,
        route: Any,
        call_id: int,
        args: Sequence[Any],
        kwargs: dict[str, Any],
    ) -> None:
        began_at = self._now()
        try:
            value = method.function(*args, **kwargs)
        except BaseException as error:  # noqa: BLE001  a handler cannot end the node
            measures.failed(method.full_name)
            self._reply_error(route, method.name, call_id, error)
            return
        measures.succeeded(method.full_name, self._now() - began_at)
        self._reply(route, method.name, call_id, value)

    def _measure(self, measures: Measures, job: Job, error: BaseException | None) -> None:
        if error is None:
            measures.succeeded(job.method.full_name, self._now() - job.started_at)
        elif not isinstance(error, NotHere):
            measures.failed(job.method.full_name)

    def _begun_nothing(self, job: OwnedJob) -> None:
        """The key went while the handler waited for it: the call waits anew, or goes elsewhere."""
        job.is_forced = False
        if self._is_draining:
            del self._jobs[job.caller.id, job.call_id]
            self._hand_on(job.route, job.call_id)
        else:
            self.gate.arrive(job)

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


def _options_of(entry: Sequence[Any]) -> tuple[Any, Any, Any]:
    """The keywords, headers and key of a request, with what stands for those that are missing."""
    fields = len(entry)
    return entry[4], entry[5] if fields > 5 else {}, entry[6] if fields > 6 else None
