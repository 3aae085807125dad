"""The decorators of both faces for what a node owns: ``on_ownership``, ``singleton``, ``actor``."""

from __future__ import annotations

import math
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, TypeVar

from mesh.actors import IDLE, MAX_INSTANCES, ActorHost, actor_methods
from mesh.engine import Engine
from mesh.engine.ownership import singleton_service
from mesh.host import Attach
from patterns.errors import ConfigError
from patterns.names import check_name
from patterns.port import Runner
from patterns.rpc.method import as_handler

__all__ = ["Active", "Owning"]

F = TypeVar("F", bound=Callable[..., Any])
C = TypeVar("C", bound=type)

MAX_HANDOVER = 3600.0
"""Seconds that a handover may be given: others wait for it that long."""


class Active:
    """What the function of a singleton is given.

    ``fence``  the token of this run: larger than that of any run before (``docs/ownership.md``)
    """

    def __init__(self, name: str, fence: int) -> None:
        self.name = name
        self.fence = fence
        self._stopping = threading.Event()

    @property
    def is_stopping(self) -> bool:
        """Whether the function shall end: another member waits to begin."""
        return self._stopping.is_set()

    def wait(self, timeout: float | None = None) -> bool:
        """In a plain function, instead of ``time.sleep``: True as soon as it shall end."""
        return self._stopping.wait(timeout)

    def stop(self) -> None:
        """Ask it to end."""
        self._stopping.set()

    def __repr__(self) -> str:
        return f"<Active {self.name}, fence {self.fence}>"


class Owning(ABC):
    """The decorators; ``Registrations`` has the rest."""

    _inline_by_default: bool

    def on_ownership(self, service: str, *, handover: float | None = None) -> Callable[[F], F]:
        """Be told which slots of a service come to this node, and go: ``docs/ownership.md``.

        The function, plain or async, is given a ``mesh.OwnershipChange``: first with all that is
        here, then after each change of the service's members; one call at a time. It is told of
        ``lost`` when no call runs on these any more, and the new owner waits for its end; of
        ``gained`` when the old owner has handed over, and calls of these wait for its end.
        ``handover`` seconds bound either, and how long calls on what was lost may go on: 5 by
        default, the same at all members. With this keyed calls of the service never run at two
        members at once while these see each other, and ``mesh.Request`` has a ``fence``.

        Raises BadName, and ConfigError for an observer, a second handler, or bad seconds.
        """
        self._check_may_serve()
        check_name("service", service)
        seconds = _check_handover(handover)

        def decorate(function: F) -> F:
            handler, is_async = as_handler(f"on_ownership({service!r})", function)
            self._now_or_at_start(
                lambda engine, runner: engine.ownership.notify(
                    service, seconds, runner, handler, is_async
                )
            )
            return function

        return decorate

    def singleton(
        self, name: str, *, handover: float | None = None, quorum: bool = True
    ) -> Callable[[F], F]:
        """Run a function at exactly one of the nodes that have it, as long as they see each other.

        It is given a ``mesh.Active``. An async one is cancelled when it shall end, a plain one has
        to look at ``active.wait()``. The next member waits for its end, ``handover`` seconds at
        most (5). A function that returns is done until the ownership moves; one that raises begins
        again after 1 s, 2 s, ... 60 s. With ``quorum`` it does not run at a node that sees fewer
        than half of the members that it knows: ``docs/ownership.md`` says what that is worth.

        Raises BadName, and ConfigError for an observer, a second one, or bad seconds.
        """
        self._check_may_serve()
        singleton_service(name)
        seconds = _check_handover(handover)

        def decorate(function: F) -> F:
            handler, is_async = as_handler(f"singleton({name!r})", function)
            self._now_or_at_start(
                lambda engine, runner: engine.ownership.offer(
                    name, seconds, runner, handler, is_async, lambda f: Active(name, f), quorum
                )
            )
            return function

        return decorate

    def actor(
        self,
        service: str,
        *,
        idle: float = IDLE,
        max_instances: int = MAX_INSTANCES,
        handover: float | None = None,
    ) -> Callable[[C], C]:
        """Serve a class by key: one instance for each key, at the key's owner, one call at a time.

        ``node.service("cart", key="user:7").add("apple")`` calls ``add`` of that key's instance,
        which is made for its first call by ``cls(key)``. Public methods are served, plain or async.
        ``on_start(self)`` runs before the first call, ``on_stop(self)`` after ``idle`` seconds
        without one, when the key moves to another node, which waits for it (``handover`` seconds
        at most), and when the node drains; not when it is killed or closed without a drain. Beyond
        ``max_instances`` the one that was idle for longest is stopped; if all are at work, a call
        of another key raises Overloaded there.

        Raises BadName, and ConfigError for an observer, a class without public methods, methods
        that are served already, or bad limits.
        """
        self._check_may_serve()
        check_name("service", service)
        seconds = _check_handover(handover)
        if not (isinstance(idle, int | float) and idle > 0) or max_instances < 1:
            raise ConfigError(f"idle={idle!r}, max_instances={max_instances!r}: above 0, please")

        def decorate(cls: C) -> C:
            names = actor_methods(cls)
            for method in names:
                self._take_name(service, method)
            inline = self._inline_by_default

            def attach(engine: Engine, runner: Runner) -> None:
                tenure = engine.ownership.own(service, seconds)
                host = ActorHost(cls, tenure, runner, engine, idle, max_instances, inline)
                for method in names:
                    engine.serve(service, host.method(method))

            self._now_or_at_start(attach)
            return cls

        return decorate

    @abstractmethod
    def _take_name(self, service: str, name: str) -> str:
        """Take "service.name" for this node. Raises ConfigError when it is taken."""

    @abstractmethod
    def _check_may_serve(self) -> None:
        """Raises ConfigError for an observer."""

    @abstractmethod
    def _now_or_at_start(self, attach: Attach) -> None:
        """Run ``attach`` on the loop's thread: now if the node runs, else when it starts."""


def _check_handover(seconds: float | None) -> float | None:
    if seconds is None:
        return None
    is_number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
    if not is_number or not math.isfinite(seconds) or not 0 < seconds <= MAX_HANDOVER:
        raise ConfigError(f"handover={seconds!r}: give seconds, above 0, at most {MAX_HANDOVER:g}")
    return float(seconds)
