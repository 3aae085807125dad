"""The decorators, shared by both faces: what a node serves and listens to.

They work before ``start`` (kept, and announced with it) and after (announced at once), and return
the function unchanged.
"""

from __future__ import annotations

import inspect
import types
from abc import abstractmethod
from collections.abc import Callable
from typing import Any, TypeVar, overload

from mesh.engine import Engine
from mesh.host import Attach, Host
from mesh.owning import Owning
from mesh.streaming import generator_method, handler_method
from patterns.backlog import DEFAULT_BUFFER, Policy, check_policy
from patterns.errors import BadName, ConfigError
from patterns.names import RESERVED_TOKEN, check_name, check_pattern, group_subject, queue_pool
from patterns.port import Runner
from patterns.rpc.method import Method, as_handler
from patterns.streams.method import STREAM_METHOD, is_generator
from patterns.subscription import Subscription

__all__ = ["RPC_CONCURRENCY", "Registrations"]

_METHODS = (types.FunctionType, staticmethod, classmethod)

F = TypeVar("F", bound=Callable[..., Any])

RPC_CONCURRENCY = 64
"""Calls of one method that run at once."""

STREAM_CONCURRENCY = 1024
"""Streams of one name that are served at once: most of their handlers wait."""


class Registrations(Owning):
    """The decorators ``rpc``, ``subscriber``, ``member`` and the verb ``serve``.

    A subclass says whether plain functions run on the loop when nothing else is said.
    """

    _inline_by_default: bool

    def __init__(self, name: str, is_observer: bool) -> None:
        self._own_name = name
        self._is_observer = is_observer
        self._method_names: set[str] = set()

    @overload
    def rpc(self, function: F, /) -> F: ...

    @overload
    def rpc(
        self,
        name: str | None = None,
        /,
        *,
        concurrency: int = RPC_CONCURRENCY,
        inline: bool | None = None,
    ) -> Callable[[F], F]: ...

    def rpc(
        self,
        function: Any = None,
        /,
        *,
        concurrency: int = RPC_CONCURRENCY,
        inline: bool | None = None,
    ) -> Any:
        """Serve a function: ``@node.rpc``, ``@node.rpc("plus")``, ``@node.rpc(concurrency=4)``.

        The method is ``<node name>.<function name>``, or the name given. ``concurrency`` calls
        run at once, more wait in a bounded line. ``inline`` runs a plain function on the event
        loop instead of in the pool; it must not block.

        Raises BadName, and ConfigError for a duplicate or an observer.
        """
        if callable(function):
            return self.rpc(None, concurrency=concurrency, inline=inline)(function)
        name = function

        def decorate(function: F) -> F:
            method = name if name is not None else getattr(function, "__name__", None)
            if method is None:
                raise ConfigError(f"{function!r} has no name; write @node.rpc('name')")
            self._add_method(self._own_name, method, function, concurrency, inline)
            return function

        return decorate

    def serve(
        self,
        target: object,
        *,
        service: str | None = None,
        concurrency: int = RPC_CONCURRENCY,
        inline: bool | None = None,
    ) -> None:
        """Serve every public method of an object, as ``service`` (default: the node's name).

        Public are the functions of its class, static and class methods included, whose names
        begin with a letter. All are served, or none.
        """
        service = service if service is not None else self._own_name
        if isinstance(target, type):
            raise ConfigError(f"serve() takes an object, {target!r} is a class: make one")
        names = [
            name
            for name, member in inspect.getmembers_static(type(target))
            if name[0].isalpha() and isinstance(member, _METHODS)
        ]
        if not names:
            raise ConfigError(f"{target!r} has no public method to serve")
        self._check_may_serve()
        for name in names:
            self._check_is_free(service, name)
        for name in names:
            self._add_method(service, name, getattr(target, name), concurrency, inline)

    def _take_name(self, service: str, name: str) -> str:
        full = self._check_is_free(service, name)
        self._method_names.add(full)
        return full

    def _check_is_free(self, service: str, name: str) -> str:
        if service == RESERVED_TOKEN:
            raise BadName(f"the service {service!r} is the mesh's own; choose another name")
        full = f"{check_name('service', service)}.{check_name('method', name)}"
        if full in self._method_names:
            raise ConfigError(f"the method {full!r} is served already; give one another name")
        return full

    def _add_method(
        self,
        service: str,
        name: str,
        function: Callable[..., Any],
        concurrency: int,
        inline: bool | None,
    ) -> None:
        self._check_may_serve()
        self._check_is_free(service, name)
        inline = self._inline_by_default if inline is None else inline
        if is_generator(function):
            method: Method = generator_method(
                name, function, self._running_host, concurrency=concurrency, inline=inline
            )
        else:
            method = Method(name, function, concurrency=concurrency, inline=inline)
        self._register(service, method)

    def stream(
        self,
        name: str | Callable[..., Any] | None = None,
        /,
        *,
        concurrency: int = STREAM_CONCURRENCY,
        window: int | None = None,
    ) -> Any:
        """Serve streams: ``@node.stream("files")``, opened by ``open_stream("files")``.

        The handler gets each stream, an ``AsyncStream`` if it is a coroutine function, a ``Stream``
        in a thread of the pool if it is a plain one. When it returns the stream is closed, when it
        raises the other side gets RemoteError. The node provides the service ``name``; without one
        it is the node's own. ``window`` is how many bytes this side takes that are not read.

        Raises BadName, and ConfigError for a duplicate or an observer.
        """
        if callable(name):
            return self.stream(concurrency=concurrency, window=window)(name)
        service, _, method_name = (name or self._own_name).partition(".")
        method_name = method_name or STREAM_METHOD

        def decorate(function: F) -> F:
            self._check_may_serve()
            self._check_is_free(service, method_name)
            method = handler_method(
                method_name,
                function,
                self._running_host,
                concurrency=concurrency,
                window=window,
            )
            self._register(service, method)
            return function

        return decorate

    def _register(self, service: str, method: Method) -> None:
        self._take_name(service, method.name)
        self._now_or_at_start(lambda engine, runner: engine.serve(service, method))

    def subscriber(
        self,
        pattern: str,
        *,
        concurrency: int = 1,
        group: str | None = None,
        inline: bool | None = None,
        buffer: int = DEFAULT_BUFFER,
        policy: Policy = "drop_oldest",
        echo: bool = True,
    ) -> Callable[[F], F]:
        """Handle what is published to ``pattern``: ``@node.subscriber("sensors.*.temp")``.

        ``concurrency`` messages at once; order is kept at 1. ``policy`` says what happens when
        the handler is too slow, and ``buffer`` how many messages wait for it: see ``subscribe``.
        ``echo=False`` refuses the node's own.
        With ``group`` it is one of a queue group: of all that subscribe with that name, here and
        elsewhere, one handler gets each message, and what its node dies with goes to another.

        Raises BadName, and ConfigError for an observer, for limits below 1 and for a policy that
        there is not.
        """
        if group is not None:
            queue_pool(group)
        pattern = check_pattern(pattern)
        return self._handler(pattern, concurrency, inline, buffer, policy, echo, group)

    def member(
        self,
        group: str | None = None,
        *,
        concurrency: int = 1,
        inline: bool | None = None,
        buffer: int = DEFAULT_BUFFER,
        policy: Policy = "drop_oldest",
        echo: bool = True,
    ) -> Callable[[F], F]:
        """Join a group and handle what is broadcast and groupcast to it.

        Without a name it is the group of the node's name. ``raise mesh.Refuse`` passes a groupcast
        on to another member; otherwise it counts as handled when the handler returns or raises.
        Per key the order is kept, whatever the ``concurrency``. ``policy`` and ``buffer`` are for
        what is broadcast: see ``subscribe``.
        """
        subject = group_subject(group if group is not None else self._own_name)
        return self._handler(subject, concurrency, inline, buffer, policy, echo)

    def _handler(
        self,
        pattern: str,
        concurrency: int,
        inline: bool | None,
        buffer: int,
        policy: Policy,
        echo: bool,
        group: str | None = None,
    ) -> Callable[[F], F]:
        self._check_may_serve()
        for option, value in (("concurrency", concurrency), ("buffer", buffer)):
            if value < 1:
                raise ConfigError(f"{option} must be at least 1, not {value}")
        check_policy(policy)
        inline = self._inline_by_default if inline is None else inline

        def decorate(function: F) -> F:
            handler, is_async = as_handler(pattern, function)

            def attach(engine: Engine, runner: Runner) -> None:
                engine.subscribe(
                    Subscription(
                        pattern,
                        runner,
                        handler=handler,
                        is_async=is_async,
                        inline=inline,
                        concurrency=concurrency,
                        buffer=buffer,
                        policy=policy,
                        echo=echo,
                        group=group,
                    )
                )

            self._now_or_at_start(attach)
            return function

        return decorate

    def _check_may_serve(self) -> None:
        if self._is_observer:
            raise ConfigError("an observer takes no work; make the node without observer=True")

    @abstractmethod
    def _running_host(self) -> Host:
        """What the running node is made of. Raises NodeClosed when it does not run."""

    @abstractmethod
    def _now_or_at_start(self, attach: Attach) -> None:
        """Run ``attach`` on the loop's thread: now if the node runs, else when it starts."""
