"""One ``@node.worker`` at a running node: it finds the homes of its queues, and draws from them.

A stream goes to each home, this node included; what it hears there is for ``patterns.queues``, and
what it holds for ``Handling``. A home that is gone takes its jobs with it, and comes back as one
like any other.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mesh.logs import get_logger
from mesh.queues.handling import Handling
from mesh.queues.held import HeldJob, data_of
from mesh.queues.polling import until
from mesh.queues.specs import STREAM_WINDOW
from patterns.errors import (
    AccessDenied,
    BadPayload,
    ConfigError,
    MeshError,
    PayloadTooLarge,
    RemoteError,
)
from patterns.port import Timer
from patterns.queues.checks import MAX_LEASE, MIN_LEASE
from patterns.queues.errors import LeaseLost
from patterns.queues.naming import check_group, check_queue, service_of
from patterns.queues.options import check_number, check_whole
from patterns.queues.order import Order, order_of
from patterns.queues.retry import Dead, Policy, Retry, RetryLater, delay_after
from patterns.queues.worker import Held, Source, Worker
from patterns.texts import error_texts

if TYPE_CHECKING:
    from mesh.host import Host
    from mesh.queues.registry import Queues

__all__ = ["Desk", "WorkerOptions", "worker_options"]

logger = get_logger("mesh.queues")

MAX_SAID = 3 * 1024 * 1024
"""Bytes of one message to a home, whose window is as large: twice the largest result, and more than
a commit should have, for all else at its home waits while it is written."""

MAX_RATE = 1e9
"""Jobs a second: more than any."""

FIRST_WAIT = 0.05
LONGEST_WAIT = 5.0
"""Seconds until a home that did not take the stream is asked again: at first, and at most."""

DENIED_WAIT = 30.0
"""The same where a policy denied it: somebody has to change that first."""


@dataclass(frozen=True)
class WorkerOptions:
    """What ``@node.worker`` was told, checked."""

    order: Order
    group: str
    concurrency: int
    lease: float
    max_in_flight: int | None
    retry: Retry | Policy
    rate: float | None
    batch: int | None
    linger: float
    time_limit: float | None
    inline: bool
    on_deadline_soon: Callable[[HeldJob], object] | None


def worker_options(
    queues: str | Sequence[str] | Mapping[str, float],
    *,
    group: str,
    concurrency: int,
    lease: float,
    max_in_flight: int | None,
    retry: Retry | Policy,
    rate: float | None,
    batch: int | None,
    linger: float,
    time_limit: float | None,
    inline: bool,
    is_async: bool,
    on_deadline_soon: Callable[[HeldJob], object] | None,
) -> WorkerOptions:
    """Raises BadName and ConfigError."""
    order = order_of(queues)
    for queue in order.queues:
        check_queue(queue)
    check_whole("concurrency", concurrency)
    for name, count in (("max_in_flight", max_in_flight), ("batch", batch)):
        if count is not None:
            check_whole(name, count)
    if max_in_flight is not None and batch is not None and max_in_flight < batch:
        raise ConfigError(f"max_in_flight={max_in_flight}: less than a batch of {batch}")
    check_number("lease", lease, least=MIN_LEASE, most=MAX_LEASE)
    check_number("linger", linger, least=0, most=MAX_LEASE)
    if time_limit is not None:
        check_number("time_limit", time_limit, least=0, most=MAX_LEASE)
    if rate is not None and not check_number("rate", rate, least=0, most=MAX_RATE):
        raise ConfigError("rate=0: give jobs a second, above 0")
    if time_limit is not None and not is_async:
        raise ConfigError(
            "time_limit= is for async handlers: a plain function cannot be stopped; run a program "
            "by 'meshctl work --hard-limit'"
        )
    if not isinstance(retry, Retry) and (isinstance(retry, type) or not callable(retry)):
        raise ConfigError(f"retry={retry!r:.80}: give mesh.Retry(...), or a function")
    if on_deadline_soon is not None and not callable(on_deadline_soon):
        raise ConfigError(f"on_deadline_soon={on_deadline_soon!r:.80}: give a function of a job")
    return WorkerOptions(
        order,
        check_group(group),
        concurrency,
        lease,
        max_in_flight,
        retry,
        rate,
        batch,
        linger,
        time_limit,
        inline,
        on_deadline_soon,
    )


class Desk:
    """Draws, runs and settles; all on the loop's thread but ``on_loop``."""

    def __init__(
        self,
        queues: Queues,
        function: Callable[[Any], Any],
        is_async: bool,
        options: WorkerOptions,
    ) -> None:
        self.host: Host = queues.host
        self._queues = queues
        self._options = options
        self.worker = Worker(
            self,
            concurrency=options.concurrency * (options.batch or 1),
            max_in_flight=options.max_in_flight,
            lease=options.lease,
            order=options.order,
            rate=options.rate,
        )
        self._handling = Handling(
            self,
            function,
            is_async=is_async,
            inline=options.inline,
            concurrency=options.concurrency,
            most=options.batch,
            linger=options.linger,
            time_limit=options.time_limit,
        )
        self._draws: dict[tuple[str, str], asyncio.Task[None]] = {}
        """By queue and the home's id."""
        self._unanswered: dict[Held, tuple[bytes | None, BaseException | None]] = {}
        """What handlers ended with that did not wait for the commits of their jobs."""
        self._told: dict[tuple[str, str, str], list[Any]] = {}
        """What is to be logged at the end of the turn: the first job, and how many there are."""
        self.is_closed = False

    # The port of ``Worker``.

    def now(self) -> float:
        return self.host.clock.now()

    def call_later(self, delay: float, callback: Callable[[], None]) -> Timer:
        return self.host.clock.call_later(delay, callback)

    def call_soon(self, callback: Callable[[], None]) -> object:
        return self.host.clock.call_soon(callback)

    def hand(self, held: list[Held]) -> None:
        self._handling.hand(held)

    def fence(self, held: Held, reason: str) -> None:
        self._tell(held, "lost here", reason)
        self._handling.fence(held)

    def warn(self, held: Held) -> None:
        """Its lease ends soon."""
        self._tell(held, "about to be lost", f"a lease ends in {self._left(held):.1g} s")
        tell = self._options.on_deadline_soon
        if tell is not None:
            try:
                tell(HeldJob(held, data_of(held), self))
            except Exception:
                logger.exception("on_deadline_soon of %r raised", held.queue)

    def _tell(self, held: Held, what: str, reason: str) -> None:
        """One line for all that this happens to in this turn: with a home thousands are lost."""
        if not self._told:
            self.host.loop.call_soon(self._tell_all)
        told = self._told.setdefault((held.queue, what, reason), [held.id, 0])
        told[1] += 1

    def _tell_all(self) -> None:
        told, self._told = self._told, {}
        for (queue, what, reason), (id, count) in told.items():
            others = f" and {count - 1} others" if count > 1 else ""
            logger.warning("job %s%s of %r: %s: %s", id, others, queue, what, reason)

    def _left(self, held: Held) -> float:
        return max(0.0, held.fence_at - self.now())

    def on_loop(self, function: Callable[..., Any], *args: Any) -> Any:
        """Run it on the loop's thread, from any."""
        return self.host.on_loop(function, *args)

    # Homes.

    def look(self) -> None:
        """Draw from each home that there is and that is not drawn from."""
        if self.is_closed:
            return
        for queue in self._options.order.queues:
            service = service_of(queue)
            for peer in self._queues.homes_of(service):
                if (queue, peer.id) not in self._draws:
                    draw = self.host.loop.create_task(self._draw(queue, service, peer.id))
                    self._draws[queue, peer.id] = draw
                    draw.add_done_callback(functools.partial(self._drawn, (queue, peer.id)))

    def _drawn(self, which: tuple[str, str], task: asyncio.Task[None]) -> None:
        del self._draws[which]
        if task.cancelled():
            return
        if (error := task.exception()) is not None:
            logger.error("drawing from %r went wrong", which[0], exc_info=error)
        else:
            self.look()  # that home may be back already

    async def _draw(self, queue: str, service: str, id: str) -> None:
        wait = FIRST_WAIT
        while not self.is_closed and any(p.id == id for p in self._queues.homes_of(service)):
            try:
                await self._draw_once(queue, service, id)
                wait = FIRST_WAIT
            except AccessDenied as denied:
                logger.warning("no jobs of %r: %s", queue, denied)
                wait = DENIED_WAIT
            except RemoteError as refusal:
                logger.warning("no jobs of %r from a home: %s", queue, refusal)
            except MeshError as error:
                logger.debug("the way to a home of %r ended: %s", queue, error)
            await asyncio.sleep(wait)
            wait = min(2 * wait, LONGEST_WAIT)

    async def _draw_once(self, queue: str, service: str, id: str) -> None:
        options = self._options
        stream = await self._queues.node.open_stream(
            f"{service}.work",
            headers={
                "group": options.group,
                "lease": f"{options.lease:g}",
                "worker": self._queues.title,
            },
            peer=id,
            window=STREAM_WINDOW,
        )
        pack = self.host.engine.streams.pack
        put = stream.core.put_message

        def send(message: list[Any]) -> None:
            packed = pack(message)
            if len(packed) > MAX_SAID:  # a commit: all else is smaller
                raise PayloadTooLarge(
                    f"a transaction of {len(packed)} bytes: at most {MAX_SAID}; put less in one"
                )
            put(packed)

        source = self.worker.add_source(queue, send)
        why = "its home has closed the way"
        try:
            while True:
                for message in await stream.receive_some():
                    source.on_message(message)
        except ValueError as error:
            stream.abort(f"it does not keep to the protocol: {error}")
        except MeshError as error:
            why = str(error)
            raise
        finally:
            self._leave(source, why)
            stream.close()

    def _leave(self, source: Source, why: str) -> None:
        self.worker.remove_source(source, why)

    # What comes of jobs.

    def told(self) -> Iterator[dict[str, Any]]:
        """How it is, by queue, for ``observing``."""
        durations = self._handling.measure()
        for queue, ends in self.worker.ends.items():
            took = durations.get(queue)
            yield {
                "queue": queue,
                "group": self._options.group,
                "held": self.worker.held(queue),
                **{name: getattr(ends, name) for name in ("done", "retried", "dead", "lost")},
                "latency": None if took is None else {"counts": took.counts, "total": took.total},
            }

    def settle(self, held: Held, result: bytes | None, error: BaseException | None) -> None:
        """The handler has ended with it, by a return or by an error."""
        if self.is_closed:
            return
        if held.is_lost:
            self.worker.let_go(held)
        elif held.is_committing:
            # Its handler did not wait for what becomes of that: it is the end if it succeeds.
            self._unanswered[held] = result, error
        elif not held.is_settled:
            try:
                self._end(held, result, error)
            except LeaseLost as lost:  # just now, for the loop was busy
                logger.warning("job %s of %r is lost here: %s", held.id, held.queue, lost)

    def committed(self, held: Held) -> None:
        """A commit was answered. If it failed, what its handler has ended with counts."""
        outcome = self._unanswered.pop(held, None)
        if outcome is not None:
            self.settle(held, *outcome)

    def _end(self, held: Held, result: bytes | None, error: BaseException | None) -> None:
        if error is not None:
            self._failed(held, error)
            return
        try:
            self.worker.done(held, result)
        except PayloadTooLarge as too_large:  # another attempt would return the same
            self.worker.dead(held, str(too_large))

    def _failed(self, held: Held, error: BaseException) -> None:
        kind, text, trace = error_texts(error)
        delay = None if isinstance(error, BadPayload) else self._delay(error, held.attempts)
        if delay is None:
            logger.warning("job %s of %r is dead: %s: %s", held.id, held.queue, kind, text)
            self.worker.dead(held, text if isinstance(error, Dead) else trace)
            return
        if not isinstance(error, RetryLater):
            logger.info(
                "job %s of %r is tried again in %.3g s: %s: %s",
                held.id,
                held.queue,
                delay,
                kind,
                text,
            )
            text = f"{kind}: {text}"
        self.worker.retry(held, delay, text)

    def _delay(self, error: BaseException, attempts: int) -> float | None:
        random = self.host.random
        try:
            return delay_after(self._options.retry, error, attempts, random)
        except Exception:
            logger.exception("the retry policy of %s raised", ", ".join(self._options.order.queues))
            return Retry().delay(error, attempts, random)

    # The end.

    async def drain(self) -> None:
        """Take no more, and end what is here."""
        self.worker.pause_intake()
        await until(lambda: self.worker.is_idle and self._handling.is_idle)

    def close(self) -> None:
        """What is held goes back to its homes."""
        self.is_closed = True
        self._handling.close()
        for draw in list(self._draws.values()):
            draw.cancel()

    def stop(self) -> None:
        """At once: no timer is left, which would keep the node."""
        self.close()
        self.worker.close()

    async def wait_closed(self) -> None:
        """Until no task is left."""
        if self._draws:
            await asyncio.wait(list(self._draws.values()))
