"""``node.survey("calc.health")``: ask all who serve a method, and read their answers as they come.

The question leaves at once, not when the first answer is read. Leaving the ``with`` block, or a
reader that is cancelled, ends the survey: what still runs is cancelled at the nodes that run it.
Without a block a survey that nobody reads ends by itself at its timeout.
"""

from __future__ import annotations

import asyncio
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn, Self

from mesh.engine.surveys import Audience
from mesh.host import Host
from mesh.membership import Peer
from mesh.runtime import Gate, forget_in_child, started_before_fork
from mesh.services import make_options
from patterns.errors import ConfigError, MeshError, NodeClosed
from patterns.rpc.inherited import inherited_deadline
from patterns.survey import Question, Reply, Survey, UntilInput, as_until

if TYPE_CHECKING:
    from mesh.aio import AsyncNode

__all__ = ["AsyncSurvey", "AsyncSurveying", "BlockingSurvey", "BlockingSurveying"]

DEFAULT_TIMEOUT = 1.0
"""Seconds, as in nanomsg's SURVEYOR."""


class _SurveyView:
    """What a survey shows, during it and after it, on any thread."""

    def __init__(self, host: Host, core: Survey) -> None:
        self._host = host
        self._core = core
        self._is_forgotten = False
        forget_in_child(self)

    def forget(self) -> None:
        """In a forked child: what comes is the parent's."""
        self._is_forgotten = True
        self._core.on_news = lambda: None

    @property
    def method(self) -> str:
        return self._core.question.method

    @property
    def asked(self) -> list[Peer]:
        """Who was asked; empty until it is known whom, in the first second after start."""
        return self._core.asked

    @property
    def replies(self) -> list[Reply]:
        """All that have come, in their order, read or not."""
        return self._core.replies

    @property
    def failed(self) -> dict[Peer, MeshError]:
        """Who was asked and will not answer, and why: ``RemoteError``, ``PeerLost``, ..."""
        return self._core.failed

    @property
    def missing(self) -> list[Peer]:
        """Who was asked and has not been heard of, in their present states."""
        return self._core.missing

    @property
    def is_over(self) -> bool:
        """Whether no more replies can come."""
        return self._core.is_over

    @property
    def is_complete(self) -> bool:
        """Whether ``until`` is met."""
        return self._core.is_complete

    def raise_for_missing(self) -> Self:
        """Raises Incomplete unless ``until`` is met; it names the missing and the failed."""
        if not self._core.is_complete:
            self._core.raise_incomplete()
        return self

    def __repr__(self) -> str:
        core = self._core
        state = "over" if core.is_over else "running"
        return (
            f"<{type(self).__name__} {self.method} until={core.until}: {len(core.replies)} of "
            f"{len(core.asked)} replied, {len(core.failed)} failed, {state}>"
        )

    def _next_now(self) -> tuple[Reply | None, bool]:
        """A reply if there is one, and whether there will be no other. Raises what ended it."""
        if self._is_forgotten:
            _raise_forked()
        # In this order: what came between the two is taken.
        is_over = self._core.is_over
        reply = self._core.take()
        if reply is None and is_over and self._core.error is not None:
            raise self._core.error
        return reply, is_over


class AsyncSurvey(_SurveyView):
    """Replies to iterate: ``async for reply in node.survey("calc.health")``."""

    def __init__(self, host: Host, core: Survey) -> None:
        super().__init__(host, core)
        self._news = asyncio.Event()
        core.on_news = self._news.set

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Reply:
        while True:
            self._news.clear()
            reply, is_over = self._next_now()
            if reply is not None:
                return reply
            if is_over:
                self._news.set()  # for others that read it
                raise StopAsyncIteration
            try:
                await self._news.wait()
            except asyncio.CancelledError:
                self.close()
                raise

    async def wait(self) -> Self:
        """Until it is over. Raises NoProvider or NodeClosed when that ended it."""
        async for _ in self:
            continue
        return self

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End it: what still runs is cancelled. Idempotent."""
        if not self._is_forgotten:
            self._core.close()


class BlockingSurvey(_SurveyView):
    """Replies to iterate: ``for reply in node.survey("calc.health")``; from any thread."""

    def __init__(self, host: Host, core: Survey) -> None:
        super().__init__(host, core)
        self._news = Gate()
        self._reading = threading.Lock()
        core.on_news = self._on_news

    def forget(self) -> None:
        super().forget()
        self._reading = threading.Lock()
        self._news.open()

    def _on_news(self) -> None:
        self._news.open()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Reply:
        if self._host.is_own_thread:
            raise RuntimeError(
                "reading a survey would block the node's own loop; in a coroutine handler use "
                "'node.aio.survey(...)', in a plain one inline=False"
            )
        with self._reading:
            while True:
                news = self._news = Gate()
                reply, is_over = self._next_now()
                if reply is not None:
                    return reply
                if is_over:
                    raise StopIteration
                try:
                    news.wait()
                except BaseException:  # Ctrl-C: nobody will read it
                    self.close()
                    raise

    def wait(self) -> Self:
        """Until it is over. Raises NoProvider or NodeClosed when that ended it."""
        for _ in self:
            continue
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End it: what still runs is cancelled. Idempotent."""
        if self._is_forgotten or self._core.is_over:
            return
        try:
            self._host.on_loop(self._core.close)
        except NodeClosed:
            return  # and so is the survey


class AsyncSurveying(ABC):
    """The verb of ``AsyncNode``."""

    @property
    @abstractmethod
    def host(self) -> Host:
        """What the running node is made of. Raises NodeClosed when it does not run."""

    def survey(
        self,
        method: str,
        /,
        *args: Any,
        timeout: float = DEFAULT_TIMEOUT,
        until: UntilInput = "all",
        group: str | None = None,
        peers: Iterable[Peer | str] | None = None,
        headers: dict[str, str] | None = None,
        kwargs: Mapping[str, Any] | None = None,
    ) -> AsyncSurvey:
        """Ask every node that serves ``method``; ``async for`` gives each ``Reply(peer, value,
        latency)`` as it comes.

        ``method``   "calc.health", or "*.health": whoever serves a method of that name, once each
        ``args``     go to the method, as does ``kwargs``, a map of keywords
        ``timeout``  seconds for the answers. In the first second after start asking may take up to
                     a second more: until everybody heard of is linked, as ``wait_for()``
        ``until``    "all" (or the builtin), ``mesh.first(n)`` or ``mesh.quorum(0.9)`` of who is
                     asked: it ends there, and what still runs is cancelled
        ``group``    its members and nobody else; ``peers`` these Peers or ids and nobody else: who
                     of them does not serve the method, or is gone, has failed
        ``headers``  ``dict[str, str]`` for handlers that take a ``Request``

        Each node gets the call once, at most; this node too, if it serves it, and members in doubt.
        It ends when ``until`` is met, all have answered or failed, or at the timeout, and raises
        for none of that: see ``missing``, ``failed``, ``is_complete`` and ``raise_for_missing()``.
        In a handler it ends with the call that is served; CallTimeout when that is over already.

        Raises NoProvider when there is nobody to ask (in the first second after start when it is
        read), BadName, BadPayload, PayloadTooLarge, AccessDenied by the own policy, ConfigError for
        an option, and Overloaded for more than 1,024 nodes.
        """
        host = self.host
        core, audience = _question(method, args, timeout, until, group, peers, headers, kwargs)
        survey = AsyncSurvey(host, core)
        host.engine.surveys.begin(core, audience)
        return survey


class BlockingSurveying(ABC):
    """The verb of ``Node``."""

    aio: AsyncNode

    @abstractmethod
    def _check_thread(self, verb: str) -> None:
        """Raises RuntimeError on the loop's own thread."""

    def survey(
        self,
        method: str,
        /,
        *args: Any,
        timeout: float = DEFAULT_TIMEOUT,
        until: UntilInput = "all",
        group: str | None = None,
        peers: Iterable[Peer | str] | None = None,
        headers: dict[str, str] | None = None,
        kwargs: Mapping[str, Any] | None = None,
    ) -> BlockingSurvey:
        """Ask every node that serves ``method``: ``for reply in node.survey("calc.health")``.

        Options and errors as in ``AsyncNode.survey``.
        """
        self._check_thread("survey")
        host = self.aio.host
        core, audience = _question(method, args, timeout, until, group, peers, headers, kwargs)
        survey = BlockingSurvey(host, core)
        host.on_loop(host.engine.surveys.begin, core, audience)
        return survey


def _question(
    method: str,
    args: tuple[Any, ...],
    timeout: float,
    until: UntilInput,
    group: str | None,
    peers: Iterable[Peer | str] | None,
    headers: dict[str, str] | None,
    kwargs: Mapping[str, Any] | None,
) -> tuple[Survey, Audience]:
    make_options(timeout, False, None, None, headers)  # checks them
    if peers is not None and isinstance(peers, str | Peer):
        raise ConfigError("peers= is one peer; give a list")
    named = dict(kwargs or {})
    if not all(isinstance(name, str) for name in named):
        raise ConfigError(f"kwargs={kwargs!r}: names are texts")
    question = Question(method, args, named, timeout, headers, inherited_deadline())
    audience = Audience(method, group, None if peers is None else list(peers))
    return Survey(question, as_until(until)), audience


def _raise_forked() -> NoReturn:
    raise started_before_fork("the node of this survey")
