"""What the tests of the chat share: to run a coroutine as a test, and to look at a session."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Coroutine
from typing import Any

from demos.chat.conversation import Conversation, Kind
from demos.chat.session import Session
from tests.net.processes import until_async

__all__ = ["Chat", "private", "runs", "texts", "until_in_room"]

Chat = Callable[..., Session]
WITHIN = 60.0


def runs(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run a coroutine as a test, and leave no task behind."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        async def main() -> None:
            before = asyncio.all_tasks()
            await test(*args, **kwargs)
            assert asyncio.all_tasks() == before

        asyncio.run(asyncio.wait_for(main(), WITHIN))

    return run


def texts(conversation: Conversation | None, kind: Kind = Kind.SAID) -> list[str]:
    assert conversation is not None
    return [line.text for line in conversation.lines if line.kind is kind]


async def until_in_room(session: Session, *nicks: str, room: str = "lobby") -> None:
    await until_async(
        lambda: {person.nick for person in session.people.in_room(room)} >= set(nicks),
        what=f"{nicks} in #{room} of {session.people.me.nick}",
    )


def private(session: Session, other: Session) -> Conversation:
    return session.conversations[f"@{other.node.id}"]
