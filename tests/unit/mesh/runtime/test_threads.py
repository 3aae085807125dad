"""The way from user threads to the loop, at its end: nothing new, and nothing lost before."""

from __future__ import annotations

import asyncio
import threading
from contextvars import ContextVar

import pytest

from mesh.runtime import Handover
from mesh.runtime.threads import MAX_HANDOVER_BYTES
from patterns.errors import NodeClosed


def test_from_the_refusal_on_nothing_is_taken_and_what_was_put_before_runs() -> None:
    ran: list[int] = []

    async def main() -> None:
        handover = Handover(asyncio.get_running_loop())
        handover.put(ran.append, (1,))
        handover.refuse()
        with pytest.raises(NodeClosed):
            handover.put(ran.append, (2,))
        await asyncio.sleep(0)

    asyncio.run(main())
    assert ran == [1]


def test_a_thread_that_waits_for_room_is_let_go_by_the_refusal() -> None:
    outcome: list[type[Exception]] = []

    async def main() -> None:
        handover = Handover(asyncio.get_running_loop())
        handover.put(len, ((),), MAX_HANDOVER_BYTES + 1)

        def put() -> None:
            try:
                handover.put(len, ((),), 1)
            except NodeClosed as error:
                outcome.append(type(error))

        # The loop does not run meanwhile, so nothing but the refusal makes an end of the wait.
        thread = threading.Thread(target=put)
        thread.start()
        handover.refuse()
        thread.join(10.0)
        assert not thread.is_alive()

    asyncio.run(main())
    assert outcome == [NodeClosed]


def test_no_thread_hands_its_context_to_what_another_one_puts() -> None:
    """Whoever wakes the loop is not who all that runs in that turn follows from."""
    within: ContextVar[str] = ContextVar("within", default="nothing")
    seen: list[str] = []

    async def body() -> None:
        handover = Handover(asyncio.get_running_loop())

        def put(value: str) -> None:
            if value:
                within.set(value)
            handover.put(lambda: seen.append(within.get()), ())

        for value in ("a trace", ""):
            thread = threading.Thread(target=put, args=(value,))
            thread.start()
            thread.join()  # the loop has not run meanwhile
        await asyncio.sleep(0.01)

    asyncio.run(body())
    assert seen == ["nothing", "nothing"]
