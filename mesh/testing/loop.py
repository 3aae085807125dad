"""``SimLoop``: an asyncio event loop on virtual time, for all processes of a simulation.

Everything of asyncio that waits for time or for other tasks works as it is: ``sleep``, ``timeout``,
task groups, queues, locks. What would wait for the machine is refused: sockets, threads, signals,
child processes.

There is one loop, and each callback and task belongs to the process in whose context it was
made (``current_process``). It runs on that process's clock, so the tasks of a frozen process stand
still and those of a killed one never run again; yet a test may await what a node promises.

Surprise: the loop does not run, it is driven. ``driving`` may be entered again by what it runs:
whoever asks for time to pass stands still meanwhile, and everything else goes on.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
import sys
import weakref
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from typing import TYPE_CHECKING, Any, NoReturn

from mesh.testing.clock import ProcessClock
from patterns.errors import NodeClosed

if TYPE_CHECKING:
    from mesh.testing.hosting import HostedProcess

__all__ = ["SimLoop", "current_process"]

logger = logging.getLogger("asyncio")

MAX_FAULTS = 20
"""Unhandled errors kept for the report at the end; the first ones say what happened."""

current_process: contextvars.ContextVar[HostedProcess] = contextvars.ContextVar("sim_process")


class SimLoop(asyncio.AbstractEventLoop):
    """``outside`` is the process of what runs in no other's context; set before use."""

    def __init__(self) -> None:
        self.outside: HostedProcess
        self.faults: deque[str] = deque(maxlen=MAX_FAULTS)
        """What was raised where nobody waits for it."""
        self._generators: weakref.WeakKeyDictionary[Any, HostedProcess] = (
            weakref.WeakKeyDictionary()
        )
        self._exception_handler: Callable[..., object] | None = None
        self._task_factory: Any = None
        self._is_driven = False
        self._is_closed = False

    def process(self, context: contextvars.Context | None = None) -> HostedProcess:
        """Whose context it is; without one, whose code runs now."""
        if context is None:
            return current_process.get(self.outside)
        return context.get(current_process, self.outside)

    # Driving.

    @contextlib.contextmanager
    def driving(self) -> Iterator[None]:
        """While it lasts this is the running loop, and steps of the clock run its callbacks.

        Raises RuntimeError within another loop.
        """
        outer = asyncio._get_running_loop()
        if outer is not None and outer is not self:
            raise RuntimeError(
                "a simulation drives its own loop and this code runs on another: make the test a "
                "plain function, and give SimMesh.run() its coroutine"
            )
        if self._is_closed:
            raise RuntimeError("this simulation is closed")
        task = asyncio.current_task(self) if outer is not None else None
        if task is not None:
            asyncio.tasks._leave_task(self, task)
        hooks = sys.get_asyncgen_hooks()
        sys.set_asyncgen_hooks(self._on_generator, self._on_generator_end)
        asyncio._set_running_loop(self)
        self._is_driven = True
        try:
            yield
        finally:
            self._is_driven = outer is not None
            asyncio._set_running_loop(outer)
            sys.set_asyncgen_hooks(*hooks)
            if task is not None:
                asyncio.tasks._enter_task(self, task)

    def _on_generator(self, generator: AsyncGenerator[Any, Any]) -> None:
        self._generators[generator] = self.process()

    def _on_generator_end(self, generator: AsyncGenerator[Any, Any]) -> None:
        """Nobody iterates it any more: it is closed where it lived."""
        process = self._generators.pop(generator, self.outside)
        if process.is_alive and not self._is_closed:
            process.call_soon(lambda: self.create_task(_close(generator)))

    # Callbacks.

    def time(self) -> float:
        return self.outside.clock.now()

    def call_soon(  # type: ignore[override]
        self,
        callback: Callable[..., object],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> asyncio.Handle:
        context = context if context is not None else contextvars.copy_context()
        handle = asyncio.Handle(callback, args, self, context)
        self._schedule(0.0, handle, context)
        return handle

    call_soon_threadsafe = call_soon  # type: ignore[assignment]

    def call_later(  # type: ignore[override]
        self,
        delay: float,
        callback: Callable[..., object],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self,
        when: float,
        callback: Callable[..., object],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        context = context if context is not None else contextvars.copy_context()
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        self._schedule(when - self.time(), handle, context)
        return handle

    def _schedule(self, delay: float, handle: asyncio.Handle, context: contextvars.Context) -> None:
        def fire() -> None:
            if not handle.cancelled():
                handle._run()

        # The handle has its own context: not by the process's, which would enter another.
        ProcessClock.call_later(self.process(context).clock, delay, fire)

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None: ...

    # Futures and tasks.

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(  # type: ignore[override]
        self,
        coroutine: Coroutine[Any, Any, Any],
        *,
        name: str | None = None,
        context: contextvars.Context | None = None,
        **options: Any,
    ) -> asyncio.Task[Any]:
        process = self.process(context)
        task: asyncio.Task[Any]
        if self._task_factory is not None:
            task = self._task_factory(self, coroutine, context=context, **options)
        else:
            task = asyncio.Task(coroutine, loop=self, name=name, context=context, **options)
        process.adopt(task)
        return task

    def set_task_factory(self, factory: Any) -> None:
        self._task_factory = factory

    def get_task_factory(self) -> Any:
        return self._task_factory

    # Errors.

    def set_exception_handler(self, handler: Any) -> None:
        self._exception_handler = handler

    def get_exception_handler(self) -> Any:
        return self._exception_handler

    def default_exception_handler(self, context: dict[str, Any]) -> None:
        """Log it, and keep it for the report at the end of the simulation."""
        error = context.get("exception")
        self.faults.append(f"{context.get('message')}: {error!r}")
        logger.error("%s", context.get("message"), exc_info=error)

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        # What waited in a killed process gets NodeClosed, and is not there to hear of it.
        if isinstance(context.get("exception"), NodeClosed) and "future" in context:
            return
        if self._exception_handler is not None:
            self._exception_handler(self, context)
        else:
            self.default_exception_handler(context)

    def get_debug(self) -> bool:
        return False

    def set_debug(self, enabled: bool) -> None: ...

    # Life.

    def is_running(self) -> bool:
        return self._is_driven

    def is_closed(self) -> bool:
        return self._is_closed

    def close(self) -> None:
        self._is_closed = True

    async def shutdown_asyncgens(self) -> None: ...

    async def shutdown_default_executor(self, timeout: float | None = None) -> None: ...


async def _close(generator: AsyncGenerator[Any, Any]) -> None:
    await generator.aclose()


def _refusal(name: str, what_to_do: str) -> Callable[..., NoReturn]:
    def refuse(self: SimLoop, *args: Any, **kwargs: Any) -> NoReturn:
        raise NotImplementedError(f"a simulation has no {name}: {what_to_do}")

    return refuse


_DRIVEN = "its loop is driven by SimMesh.run(), advance() and until()"
_NO_THREADS = "call the function itself, or stand in for it with a coroutine that sleeps"
_NO_IO = "nothing leaves it; hand the service a stand-in for what it talks to"
for _names, _what_to_do in (
    ("run_forever run_until_complete stop", _DRIVEN),
    ("run_in_executor set_default_executor", _NO_THREADS),
    (
        "add_reader remove_reader add_writer remove_writer add_signal_handler "
        "remove_signal_handler connect_accepted_socket connect_read_pipe connect_write_pipe "
        "create_connection create_datagram_endpoint create_server create_unix_connection "
        "create_unix_server getaddrinfo getnameinfo sendfile sock_accept sock_connect sock_recv "
        "sock_recv_into sock_recvfrom sock_recvfrom_into sock_sendall sock_sendfile sock_sendto "
        "start_tls subprocess_exec subprocess_shell",
        _NO_IO,
    ),
):
    for _name in _names.split():
        setattr(SimLoop, _name, _refusal(_name, _what_to_do))
