"""A survey: one call to each of many nodes, and an honest account of who has not answered.

In the line of nanomsg's SURVEYOR (a question, a deadline, answers of whoever comes in time), with
what that leaves out: who was asked. So silence has a name, and "enough" can be a share of them.

Rules:

* It is calls, made by ``RpcClient`` with all of its promises: one to each node, all in one turn,
  at most once, with one deadline. None is repeated or moved to another node.
* Each node asked is at each moment exactly one of: replied, failed (an error other than silence,
  a lost peer among them), missing. A call that times out leaves it missing.
* It ends when ``until`` is met, when nobody is left who could answer, or at its deadline. What
  still runs then is cancelled, and the nodes that run it are told.

Surprise: readers on other threads look on while the loop's thread writes. Who was asked never
changes once it began, and each answer is written once; nothing that is iterated ever shrinks.
"""

from __future__ import annotations

import math
from builtins import all as builtin_all
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal, NoReturn, Protocol, TypeAlias

from patterns.errors import (
    AccessDenied,
    CallTimeout,
    ConfigError,
    Incomplete,
    MeshError,
    NodeClosed,
    Overloaded,
    PeerLost,
)
from patterns.port import Handle, Waiter
from patterns.rpc.options import CallOptions

__all__ = [
    "MAX_ASKED",
    "Question",
    "Reply",
    "Survey",
    "Target",
    "Until",
    "UntilInput",
    "as_until",
    "first",
    "quorum",
]

MAX_ASKED = 1024
"""Nodes that one survey asks: each of the largest mesh that this is made for."""

EVERYBODY = "all"


@dataclass(frozen=True, slots=True)
class Reply:
    """What one node answered, and the seconds from the question to its answer."""

    peer: Any
    value: Any
    latency: float


@dataclass(frozen=True, slots=True)
class Until:
    """How many replies are enough: so many, or this share of who is asked."""

    count: int = 0
    share: Fraction = Fraction(1)

    def needed(self, asked: int) -> int:
        """Replies out of ``asked``; never below one."""
        return self.count or max(1, math.ceil(self.share * asked))

    def __str__(self) -> str:
        if self.count:
            return f"first({self.count})"
        return EVERYBODY if self.share == 1 else f"quorum({float(self.share):g})"


UntilInput: TypeAlias = Until | Literal["all"] | Callable[[Iterable[object]], bool]
"""``until=`` as users give it; the one function that is taken is the builtin ``all``."""


def first(n: int) -> Until:
    """The first ``n`` replies are enough. More than are asked are never met. Raises ConfigError."""
    if isinstance(n, bool) or not isinstance(n, int) or n < 1:
        raise ConfigError(f"first({n!r}): give how many replies are enough, 1 or more")
    return Until(count=n)


def quorum(share: float) -> Until:
    """Replies of that share of all who are asked, rounded up: of 30, ``quorum(0.9)`` are 27.

    A share is taken as it is written: 0.7 of 10 are 7. It is a share of who this node knows, those
    in doubt included; it does not say that the mesh agrees on anything. Raises ConfigError.
    """
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share <= 1:
        raise ConfigError(f"quorum({share!r}): give a share of those asked, above 0 and up to 1")
    return Until(share=Fraction(str(share)))


def as_until(until: object) -> Until:
    """``until=`` as users give it. Raises ConfigError."""
    if isinstance(until, Until):
        return until
    if until == EVERYBODY or until is builtin_all:
        return Until()
    raise ConfigError(f'until={until!r}: give "all", mesh.first(n) or mesh.quorum(share)')


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked. ``ends_at`` is when the call that is served here is over, on the clock."""

    method: str
    args: Sequence[Any]
    kwargs: dict[str, Any]
    timeout: float
    headers: dict[str, str] | None = None
    ends_at: float | None = None


@dataclass(frozen=True, slots=True)
class Target:
    """Whom to ask, and what there. Without a handle it has failed with ``error`` already."""

    peer: Any
    handle: Handle | None
    method: str
    error: MeshError | None = None


class SurveyPort(Protocol):
    """What a survey needs: the calls of ``RpcClient``, and the time."""

    def now(self) -> float: ...

    def call(
        self,
        method: str,
        args: Sequence[Any],
        kwargs: dict[str, Any],
        options: CallOptions,
        waiter: Waiter,
        until: float | None,
    ) -> int: ...

    def cancel(self, call_id: int) -> None: ...


class Answer:
    """What becomes of the call to one node: the ``Waiter`` of that call."""

    __slots__ = ("call_id", "error", "is_settled", "is_silent", "reply", "survey", "target")

    def __init__(self, survey: Survey, target: Target) -> None:
        self.survey = survey
        self.target = target
        self.call_id: int | None = None
        self.reply: Reply | None = None
        self.error: MeshError | None = target.error
        self.is_silent = False
        """Nothing came by the deadline."""

    @property
    def peer(self) -> Any:
        """As this node sees it now."""
        handle = self.target.handle
        return self.target.peer if handle is None else handle.peer

    @property
    def is_missing(self) -> bool:
        return self.reply is None and self.error is None

    def done(self) -> bool:
        return self.survey.is_over or self.is_silent or not self.is_missing

    def set_result(self, result: Any, /) -> None:
        self.survey.replied(self, result)

    def set_exception(self, exception: BaseException, /) -> None:
        self.survey.failed_at(self, exception)


class Survey:
    """One survey, from ``begin`` to its end; ``on_news`` follows each reply and the end."""

    def __init__(self, question: Question, until: Until) -> None:
        self.question = question
        self.until = until
        self.on_news: Callable[[], None] = lambda: None
        self.is_over = False
        self.error: BaseException | None = None
        """Why it could not go on, for whoever reads it."""
        self._answers: tuple[Answer, ...] = ()
        self._needed = 0
        self._open = 0
        self._began = 0.0
        self._port: SurveyPort
        self._replies: list[Reply] = []
        self._unread: deque[Reply] = deque()

    def begin(self, port: SurveyPort, targets: Sequence[Target]) -> None:
        """Ask them all, in this turn.

        Raises what is wrong with the question itself: BadName, BadPayload, PayloadTooLarge, the
        own policy's AccessDenied, CallTimeout within a call that is over. Raises Overloaded for
        more targets than ``MAX_ASKED``.
        """
        if self.is_over:
            return  # closed while it waited for whom to ask
        if len(targets) > MAX_ASKED:
            raise Overloaded(
                f"{self.question.method}: {len(targets)} nodes are more than the {MAX_ASKED} that "
                "one survey asks; ask a group, or peers="
            )
        self._port = port
        self._began = port.now()
        self._needed = self.until.needed(len(targets))
        self._answers = tuple(Answer(self, target) for target in targets)
        try:
            self._ask_all()
        except MeshError:
            self.close()  # some may have been asked
            raise
        self._open = sum(answer.is_missing for answer in self._answers)
        if not self._open:
            self._end()

    def _ask_all(self) -> None:
        for answer in self._answers:
            self._ask(answer)
        denied = [a.error for a in self._answers if isinstance(a.error, AccessDenied)]
        if denied and len(denied) == len(self._answers):
            raise denied[0]

    def _ask(self, answer: Answer) -> None:
        question, handle = self.question, answer.target.handle
        if handle is None:
            return
        options = CallOptions(question.timeout, target=lambda: handle, headers=question.headers)
        call, method = self._port.call, answer.target.method
        try:
            answer.call_id = call(
                method, question.args, question.kwargs, options, answer, question.ends_at
            )
        except (AccessDenied, Overloaded, PeerLost) as error:
            answer.error = error

    # What the calls come to.

    def replied(self, answer: Answer, value: Any) -> None:
        """A node has answered."""
        reply = Reply(answer.peer, value, self._port.now() - self._began)
        answer.reply = reply
        self._replies.append(reply)
        self._unread.append(reply)
        self._settle()
        if not self.is_over:
            self.on_news()

    def failed_at(self, answer: Answer, error: BaseException) -> None:
        """A call has ended without an answer."""
        if isinstance(error, NodeClosed) or not isinstance(error, MeshError):
            self.fail(error)
            return
        if isinstance(error, CallTimeout):
            answer.is_silent = True
        else:
            answer.error = error
        self._settle()

    def _settle(self) -> None:
        self._open -= 1
        if not self._open or self.is_complete:
            self._end()

    def fail(self, error: BaseException) -> None:
        """The node ends, and its calls with it: readers get ``error`` behind what has come."""
        if not self.is_over:
            self.error = error
            self.is_over = True
            self.on_news()

    def close(self) -> None:
        """Wait for no more: the calls that still run are cancelled. Idempotent."""
        if not self.is_over:
            self._end()

    def _end(self) -> None:
        self.is_over = True
        for answer in self._answers:
            if answer.is_missing and not answer.is_silent and answer.call_id is not None:
                self._port.cancel(answer.call_id)
        self.on_news()

    # What is known.

    def take(self) -> Reply | None:
        """The next reply that nobody has read; None while there is none."""
        try:
            return self._unread.popleft()
        except IndexError:
            return None

    @property
    def replies(self) -> list[Reply]:
        return list(self._replies)

    @property
    def asked(self) -> list[Any]:
        return [answer.peer for answer in self._answers]

    @property
    def failed(self) -> dict[Any, MeshError]:
        return {a.peer: a.error for a in self._answers if a.error is not None}

    @property
    def missing(self) -> list[Any]:
        return [answer.peer for answer in self._answers if answer.is_missing]

    @property
    def is_complete(self) -> bool:
        return bool(self._answers) and len(self._replies) >= self._needed

    def raise_incomplete(self) -> NoReturn:
        """Raise an Incomplete that says who is missing and who failed."""
        missing, failed = self.missing, self.failed
        parts = [
            f"{self.question.method}: {len(self._replies)} of {len(self._answers)} have answered, "
            f"{self._needed} were wanted"
        ]
        if missing:
            parts.append(f"no answer from {_listed(_named(peer) for peer in missing)}")
        if failed:
            parts.append(f"failed: {_listed(f'{p} ({e})' for p, e in failed.items())}")
        raise Incomplete("; ".join(parts), missing, failed)


MAX_LISTED = 10
"""Peers that an error's text names; all of them are in its attributes."""


def _listed(texts: Any) -> str:
    named = list(texts)
    more = len(named) - MAX_LISTED
    return ", ".join(named[:MAX_LISTED]) + (f" and {more} more" if more > 0 else "")


def _named(peer: Any) -> str:
    state = getattr(peer, "state", "alive")
    return str(peer) if state == "alive" else f"{peer} ({state})"
