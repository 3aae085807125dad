"""Actors: one instance of a class for each key that this node owns, one call at a time.

A thin layer: which node a key belongs to, and who waits for whom when that changes, is the tenure's
(``patterns.ownership``). An instance counts as work on its slot from before ``on_start`` until
``on_stop`` has ended, so a key's new owner makes its own instance after that.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import Any

from mesh.engine import Engine
from mesh.logs import get_logger
from patterns.errors import ConfigError, Overloaded
from patterns.keys import Key, key_bytes, slot_of
from patterns.ownership import Tenure
from patterns.port import Runner, Timer
from patterns.rpc.gate import NotHere
from patterns.rpc.method import Method, Request, hints_of, is_async_callable
from patterns.streams.method import is_generator

__all__ = ["IDLE", "MAX_INSTANCES", "ActorHost", "actor_methods"]

logger = get_logger("mesh.actors")

IDLE = 120.0
"""Seconds without a call after which an instance is stopped, as Akka does it; Orleans waits for
15 minutes."""

MAX_INSTANCES = 10_000
"""Of one class at one node: what their author keeps in each is not ours to know."""

MAX_AT_ONE = 256
"""Calls that wait for one instance: a key that more are asked of is no unit of work."""

CONCURRENCY = 4096
"""Calls of one method at all instances together: a slow key must not hold up the others."""

_HOOKS = ("on_start", "on_stop")


def actor_methods(cls: Any) -> list[str]:
    """The methods that are served. Raises ConfigError for what is no class, or has none."""
    if not isinstance(cls, type):
        raise ConfigError(f"an actor is a class, and {cls!r} is none")
    names = [
        name
        for name, member in inspect.getmembers_static(cls)
        if name[0].isalpha() and inspect.isfunction(member) and name not in _HOOKS
    ]
    if not names:
        raise ConfigError(f"{cls!r} has no public method to serve")
    return names


class _Actor:
    __slots__ = ("instance", "is_over", "key", "lock", "slot", "used_at", "users")

    def __init__(self, key: Key, slot: int, now: float) -> None:
        self.key = key
        self.slot = slot
        self.lock = asyncio.Lock()
        self.instance: Any = None
        """None until it is started."""
        self.users = 0
        """Calls that run on it or wait for it."""
        self.used_at = now
        self.is_over = False
        """Whether it is about to stop, or has: the next call makes another."""


class ActorHost:
    """The instances of one class at one node; on the loop's thread."""

    def __init__(
        self,
        cls: type,
        tenure: Tenure,
        runner: Runner,
        engine: Engine,
        idle: float,
        max_instances: int,
        inline: bool,
    ) -> None:
        self._cls = cls
        self._takes_key = _takes_key(cls)
        self._tenure = tenure
        self._runner = runner
        self._engine = engine
        self._idle = idle
        self._max = max_instances
        self._inline = inline
        self._actors: dict[bytes, _Actor] = {}
        """By key; who was used last is last."""
        self._stopping: dict[bytes, asyncio.Event] = {}
        """By key, too; set when ``on_stop`` has ended."""
        self._timer: Timer | None = None
        tenure.changed.append(self._on_changed)
        engine.ownership.tenants.append(self)

    def __str__(self) -> str:
        return f"{len(self._actors) + len(self._stopping)} of {self._cls.__name__}"

    def method(self, name: str) -> Method:
        """The method of that name as one that is served."""
        function = getattr(self._cls, name)
        if is_generator(function):
            raise ConfigError(
                f"{self._cls.__name__}.{name} is a generator; an actor's calls answer"
            )
        hints = hints_of(function)
        theirs = next((n for n, hint in hints.items() if hint is Request), None)

        signature = inspect.signature(function)
        all_own = [*signature.parameters.values()][1:]
        positional = [p.name for p in all_own if p.kind is not inspect.Parameter.KEYWORD_ONLY]
        place = positional.index(theirs) if theirs in positional else len(all_own)

        async def call(*args: Any, mesh_request: Request, **kwargs: Any) -> Any:
            if theirs is not None and place <= len(args):
                args = *args[:place], mesh_request, *args[place:]
            elif theirs is not None:
                kwargs[theirs] = mesh_request
            return await self._call(name, mesh_request, args, kwargs)

        own = [p for p in all_own if p.name != theirs]
        asked = inspect.Parameter(
            "mesh_request", inspect.Parameter.KEYWORD_ONLY, annotation=Request
        )
        at = len(own) - (bool(own) and own[-1].kind is inspect.Parameter.VAR_KEYWORD)
        call.__signature__ = signature.replace(parameters=[*own[:at], asked, *own[at:]])  # type: ignore[attr-defined]
        call.__annotations__ = hints | {"mesh_request": Request}
        call.__name__ = name
        return Method(name, call, concurrency=CONCURRENCY, inline=False)

    async def _call(
        self, name: str, request: Request, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        if request.key is None:
            raise ConfigError(f"{self._tenure.service} is an actor: call it with key=")
        form = key_bytes(request.key)
        while True:
            actor = self._actors.get(form)
            if actor is None:
                actor = await self._make(form, request.key)
            if actor.users >= MAX_AT_ONE:
                raise Overloaded(f"{actor.users} calls wait for the instance of {request.key!r}")
            actor.users += 1
            try:
                async with actor.lock:
                    if actor.is_over:
                        continue
                    self._use(form, actor)
                    await self._start(form, actor)
                    return await self._run(getattr(actor.instance, name), args, kwargs)
            finally:
                actor.users -= 1
                actor.used_at = self._engine.now()

    async def _make(self, form: bytes, key: Key) -> _Actor:
        if len(self._stopping) >= self._max:
            raise Overloaded(f"{self._max} instances of {self._cls.__name__} are being stopped")
        if len(self._actors) >= self._max:
            self._drop_idlest()
        while (is_over := self._stopping.get(form)) is not None:
            await is_over.wait()
        actor = self._actors.get(form)
        if actor is None:
            if not self._tenure.owns(slot_of(form)):
                # It went while the call waited for the instance that is stopped now.
                raise NotHere
            actor = self._actors[form] = _Actor(key, slot_of(form), self._engine.now())
            self._tenure.began(actor.slot)
            self._set_timer()
        return actor

    def _use(self, form: bytes, actor: _Actor) -> None:
        if self._actors.get(form) is actor:  # not one that is to stop behind this call
            self._actors[form] = self._actors.pop(form)
        actor.used_at = self._engine.now()

    async def _start(self, form: bytes, actor: _Actor) -> None:
        if actor.instance is not None:
            return
        try:
            key = (actor.key,) if self._takes_key else ()
            instance = await self._run(self._cls, key, {})
            await self._hook(instance, "on_start")
            actor.instance = instance
        except BaseException:
            # It has never been: nothing to stop.
            actor.is_over = True
            if self._actors.get(form) is actor:
                del self._actors[form]
                self._tenure.ended(actor.slot)
            raise

    async def _hook(self, instance: Any, name: str) -> None:
        hook = getattr(instance, name, None)
        if hook is not None:
            await self._run(hook, (), {})

    async def _run(
        self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        if is_async_callable(function):
            return await function(*args, **kwargs)
        if self._inline:
            return function(*args, **kwargs)
        outcome: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        def done(value: Any, error: BaseException | None) -> None:
            if outcome.cancelled():
                return
            if error is not None:
                outcome.set_exception(error)
            else:
                outcome.set_result(value)

        self._runner.start(function, args, kwargs, False, done)
        return await _to_its_end(outcome)

    # The end of an instance.

    def _on_changed(self) -> None:
        for form, actor in list(self._actors.items()):
            if not self._tenure.owns(actor.slot):
                self._stop(form, actor)

    def _drop_idlest(self) -> None:
        for form, actor in self._actors.items():
            if not actor.users:
                self._stop(form, actor)
                return
        raise Overloaded(f"{self._max} instances of {self._cls.__name__} are at work")

    def _stop(self, form: bytes, actor: _Actor) -> None:
        """Behind the calls that wait for it already."""
        del self._actors[form]
        self._stopping[form] = asyncio.Event()

        def ended(_: Any, error: BaseException | None) -> None:
            self._ended(form, actor, error)

        self._runner.start(self._end, (actor,), {}, True, ended)

    async def _end(self, actor: _Actor) -> None:
        async with actor.lock:
            actor.is_over = True
            if actor.instance is not None:
                await self._hook(actor.instance, "on_stop")

    def _ended(self, form: bytes, actor: _Actor, error: BaseException | None) -> None:
        if error is not None:
            logger.error(
                "on_stop of %s for %r raised: %s",
                self._cls.__name__, actor.key, error, exc_info=error,
            )  # fmt: skip
        actor.is_over = True
        self._tenure.ended(actor.slot)
        self._stopping.pop(form).set()

    @property
    def is_released(self) -> bool:
        return not self._actors and not self._stopping

    def close(self) -> None:
        """No instance is stopped by it: there is no time for that."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _set_timer(self) -> None:
        if self._timer is None and self._actors:
            first = next(iter(self._actors.values()))
            delay = max(first.used_at + self._idle - self._engine.now(), self._idle / 100)
            self._timer = self._engine.call_later(delay, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        if not self._engine.is_open:
            return
        old = self._engine.now() - self._idle
        for form, actor in list(self._actors.items()):
            if actor.used_at > old:
                break
            if not actor.users:
                self._stop(form, actor)
        self._set_timer()


async def _to_its_end(outcome: asyncio.Future[Any]) -> Any:
    """A function in the pool cannot be stopped: who is cancelled still waits for its end, so that
    the next call does not run beside it."""
    try:
        return await asyncio.shield(outcome)
    except asyncio.CancelledError:
        await asyncio.wait((outcome,))
        if not outcome.cancelled():
            outcome.exception()
        raise


def _takes_key(cls: type) -> bool:
    """Whether ``cls(key)`` works, or ``cls()`` is meant."""
    try:
        inspect.signature(cls).bind("key")
    except (TypeError, ValueError):
        return False
    return True
