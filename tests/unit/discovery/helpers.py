"""What the tests of `discovery` share: announcements, and an event loop on virtual time."""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

from discovery import Announcement

T = TypeVar("T")


def announcement(number: int = 1, **fields: Any) -> Announcement:
    values: dict[str, Any] = {
        "id": f"{number:032x}",
        "mesh": "test",
        "protocol": 1,
        "hosts": ("127.0.0.1",),
        "port": 5000 + number,
        "fingerprint": "",
    }
    return Announcement(**(values | fields))


class _JumpingSelector(selectors.SelectSelector):
    """Instead of waiting for time to pass, moves the loop's clock on."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready:
            if timeout is None:
                raise AssertionError("nothing left to happen, and the test still waits")
            self.now += max(timeout, 0.0)
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose waits take no time."""

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now

    def timers(self) -> list[asyncio.TimerHandle]:
        """What is set to happen later."""
        return [timer for timer in self._scheduled if not timer.cancelled()]


def run_virtual(main: Coroutine[Any, Any, T]) -> T:
    """Run `main` on virtual time; whatever it leaves running fails the test."""

    async def checked() -> T:
        result = await main
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert not left, f"still running: {left}"
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        timers = loop.timers()
        assert not timers, f"still to come: {timers}"
        return result

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(checked())
