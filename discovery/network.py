"""What becomes of the machine's network: addresses that change, cables, sleep.

The interfaces are looked at once a second (0.6 ms a look). Notifications of the kernel would be
quicker, and different on every system. A machine that slept comes back with the same addresses and
with connections that are dead, so a gap in time counts as a change, too.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence

from discovery.interfaces import Choice, all_interfaces, choose

POLL = 1.0
"""Seconds between looks: what people do with cables takes longer."""

SLEPT = 3.0
"""Seconds by which a look must be late to mean that the machine, or this process, was stopped."""

logger = logging.getLogger("discovery")


class Network:
    """The interfaces in use, of those `wanted` or by the rule; `changed` is called on the loop.

    `choice` is up to date as of the last look; the first is taken by `start`.
    """

    def __init__(self, wanted: Sequence[str], changed: Callable[[], None]) -> None:
        self._wanted = wanted
        self._changed = changed
        self.choice = Choice(())
        self._looked_at = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Look, and from now on every `POLL` seconds, on the running loop."""
        self.choice = self._look()
        self._wait()

    def close(self) -> None:
        """Look no more. Idempotent."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _wait(self) -> None:
        # The wall clock: it goes on while the machine sleeps.
        self._looked_at = time.time()
        self._timer = asyncio.get_running_loop().call_later(POLL, self._poll)

    def _poll(self) -> None:
        late = time.time() - self._looked_at - POLL
        choice = self._look()
        is_change = choice != self.choice or late > SLEPT
        self.choice = choice
        self._wait()
        if is_change:
            self._changed()

    def _look(self) -> Choice:
        try:
            return choose(all_interfaces(), self._wanted)
        except (OSError, ValueError) as error:  # or it has a name that is no text
            logger.warning("the network interfaces cannot be listed: %s", error)
            return self.choice
