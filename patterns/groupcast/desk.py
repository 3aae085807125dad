"""A desk: where the casts for one subscription wait, are handled, and are reported from.

It gives the subscription its portions, so that one ``concurrency`` holds for everything that the
handler gets, and learns from them what became of each cast: handled, refused, not begun. A plain
handler in the pool runs on another thread; all it touches there is the ``outcome`` of its message.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from itertools import chain
from typing import Any, Protocol

from patterns.errors import Refuse
from patterns.groupcast.casts import BACK_UNSTARTED, HANDLED, REFUSED, UNSTARTED, CastMessage
from patterns.groupcast.worklist import Worklist
from patterns.keys import key_bytes
from patterns.logs import get_logger
from patterns.messages import Message
from patterns.portions import Portion
from patterns.subscription import Subscription

__all__ = ["CastPortion", "Desk", "DeskOwner"]

logger = get_logger("mesh.groupcast")


class DeskOwner(Protocol):
    """The receiver, as its desks see it."""

    def now(self) -> float: ...

    def may_start(self) -> bool:
        """Whether new work may begin, asked on any thread: not in the moments after a pause."""

    def through(self, message: CastMessage) -> None:
        """A handler is through with it; see its ``outcome``."""

    def pass_back(self, message: CastMessage, reason: int) -> None:
        """It was not begun here, or not ended."""

    def not_begun(self, desk: Desk, messages: list[CastMessage]) -> None:
        """Taken, and then not begun because of a pause."""


class CastPortion(Portion):
    """Casts in the hands of a handler. ``all`` are those that were handed to it."""

    __slots__ = ("all", "desk", "handler", "started_at")

    def __init__(self, desk: Desk, messages: list[CastMessage], now: float) -> None:
        super().__init__(deque(messages), None, now)
        self.desk = desk
        self.all = messages
        self.handler = desk.handler
        self.started_at = now

    def end(self) -> None:
        self.desk.ended(self)

    def take_unstarted(self) -> list[CastMessage]:
        """Take back what was not begun, though the handler may be on another thread."""
        # What it came to in a pause is told by its outcome, and it does not come to it again.
        taken = [message for message in self.all if message.outcome == UNSTARTED]
        for message in taken:
            message.outcome = None
        untouched: list[CastMessage] = []
        while True:
            try:
                untouched.append(self.messages.pop())  # type: ignore[arg-type]
            except IndexError:
                break
        taken += untouched[::-1]
        if taken:
            gone = {id(message) for message in taken}
            self.all = [message for message in self.all if id(message) not in gone]
        return taken


class Desk:
    """The casts of one subscription."""

    def __init__(self, subscription: Subscription, owner: DeskOwner) -> None:
        self.subscription = subscription
        self.worklist = Worklist(subscription.concurrency)
        self.inline = subscription.inline
        self._owner = owner
        self._portions: dict[CastPortion, None] = {}
        self._in_hand: CastMessage | None = None
        self._taken_at = 0.0
        self.handler: Callable[[Any], Any] | None = None
        if subscription.handler is not None:
            make = _coroutine_handler if subscription.is_async else _plain_handler
            self.handler = make(subscription, owner.may_start)

    def run(self, message: CastMessage) -> bool:
        """Handle it here and now; False when it is refused. What else it raises is logged."""
        try:
            self.subscription.handler(message)  # type: ignore[misc]
        except Refuse:
            return False
        except BaseException:  # noqa: BLE001  whatever it is, a handler cannot end the node
            self.failed(message)
        return True

    def failed(self, message: Message) -> None:
        """Its handler has just raised: told with the traceback, without what is in the message."""
        self.subscription.handler_errors += 1
        logger.exception("a handler raised on %s", message.title)

    def put(self, message: CastMessage) -> None:
        """Queue it; ``Subscription.wake`` starts what may start."""
        message.outcome = None
        self.worklist.put(message)

    # What the subscription asks for.

    @property
    def is_ready(self) -> bool:
        """Whether there is one to start now."""
        return self.worklist.is_ready and self._owner.may_start()

    @property
    def is_busy(self) -> bool:
        return bool(len(self.worklist) or self._portions or self._in_hand)

    def has_key(self, key: bytes) -> bool:
        """Whether a cast with that key is here."""
        in_hand = (self._in_hand,) if self._in_hand is not None else ()
        running = (message for portion in self._portions for message in portion.all)
        return any(
            message.key is not None and key_bytes(message.key) == key
            for message in chain(in_hand, running, self.worklist)
        )

    def next_portion(self) -> CastPortion:
        """The next casts for a free slot of the handler."""
        messages = self.worklist.take()
        self.worklist.running += len(messages)
        portion = CastPortion(self, messages, self._owner.now())
        self._portions[portion] = None
        return portion

    def ended(self, portion: CastPortion) -> None:
        """A handler is through with a portion, or has given it up."""
        del self._portions[portion]
        worklist, owner = self.worklist, self._owner
        worklist.running -= len(portion.all)
        unstarted = [m for m in portion.all if m.outcome == UNSTARTED]
        left = set(map(id, portion.messages))
        started = 0
        for message in portion.all:
            if message.outcome == UNSTARTED:
                message.outcome = None
            elif id(message) in left:
                worklist.ended(message)
                owner.pass_back(message, BACK_UNSTARTED)
            else:
                started += 1
                worklist.ended(message)
                owner.through(message)
        if started:
            worklist.took(owner.now() - portion.started_at, started)
        if unstarted:
            owner.not_begun(self, unstarted)

    def next_for_reader(self) -> CastMessage:
        """The next cast for an iterator; one, because asking for the next says that it is done."""
        message = self._in_hand = self.worklist.take_one()
        self.worklist.running += 1
        self._taken_at = self._owner.now()
        return message

    def reader_is_through(self) -> None:
        """The iterator asks for more: what it had is handled."""
        message, self._in_hand = self._in_hand, None
        if message is not None:
            message.outcome = HANDLED
            self.worklist.running -= 1
            self.worklist.ended(message)
            self.worklist.took(self._owner.now() - self._taken_at, 1)
            self._owner.through(message)

    # What the receiver asks for.

    def take_unstarted(self, unwanted: Callable[[CastMessage], bool]) -> list[CastMessage]:
        """Take back all that is ``unwanted`` and that no handler has come to."""
        pulled: list[CastMessage] = []
        for portion in self._portions:
            taken = portion.take_unstarted()
            self.worklist.running -= len(taken)
            pulled += taken
        self.worklist.put_back(pulled)
        return self.worklist.remove(unwanted)

    def take_from_reader(self) -> CastMessage | None:
        """The one that an iterator was given and never came back from."""
        message, self._in_hand = self._in_hand, None
        if message is not None:
            self.worklist.running -= 1
        return message


def _plain_handler(
    subscription: Subscription, may_start: Callable[[], bool]
) -> Callable[[CastMessage], None]:
    def handle(message: CastMessage) -> None:
        if not may_start():
            message.outcome = UNSTARTED
            return
        try:
            subscription.handler(message)  # type: ignore[misc]
        except Refuse:
            message.outcome = REFUSED
        except Exception:
            message.outcome = HANDLED
            raise
        else:
            message.outcome = HANDLED

    return handle


def _coroutine_handler(
    subscription: Subscription, may_start: Callable[[], bool]
) -> Callable[[CastMessage], Any]:
    async def handle(message: CastMessage) -> None:
        if not may_start():
            message.outcome = UNSTARTED
            return
        try:
            await subscription.handler(message)  # type: ignore[misc]
        except Refuse:
            message.outcome = REFUSED
        except Exception:
            message.outcome = HANDLED
            raise
        else:
            message.outcome = HANDLED

    return handle
