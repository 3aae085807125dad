"""The verbs of ``AsyncNode`` that listen: ``subscribe`` and ``join``."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from mesh.host import Host
from mesh.streams import AsyncSubscription
from patterns.backlog import DEFAULT_BUFFER, Policy
from patterns.names import check_pattern, group_subject, queue_pool
from patterns.subscription import Subscription

__all__ = ["AsyncSubscribing"]


class AsyncSubscribing(ABC):
    """Makes iterators; whoever extends it has a running ``host``."""

    @property
    @abstractmethod
    def host(self) -> Host:
        """What the running node is made of. Raises NodeClosed when it does not run."""

    def subscribe(
        self,
        pattern: str,
        *,
        group: str | None = None,
        buffer: int = DEFAULT_BUFFER,
        policy: Policy = "drop_oldest",
        echo: bool = True,
        timeout: float = 5.0,
    ) -> AsyncSubscription:
        """Listen to ``pattern``: ``async with node.subscribe("a.*") as sub: async for msg in sub``.

        Awaited or entered, it returns when every alive peer has confirmed, or after ``timeout``
        seconds with the rest in ``sub.unconfirmed``; nothing that the confirmed publish from then
        on is missed. With ``group`` it is one of a queue group: each message reaches one of all
        that subscribe with that name, and is handled when the next one is asked for.

        ``policy`` is for a reader that is too slow (``docs/delivery.md``): "drop_oldest" keeps the
        newest ``buffer`` messages once it has stalled; "latest" of each subject the newest, of at
        most ``buffer`` subjects; "block" loses nothing and holds up ``flush()`` and blocking
        publishers instead. Casts have credit: for these and with ``group`` it means nothing.
        Raises BadName, ConfigError for an observer and for a bad ``buffer`` or ``policy``.
        """
        if group is not None:
            queue_pool(group)
        options = {"buffer": buffer, "policy": policy, "echo": echo, "group": group}
        return self._subscription(check_pattern(pattern), timeout, options)

    def join(
        self,
        group: str,
        *,
        buffer: int = DEFAULT_BUFFER,
        policy: Policy = "drop_oldest",
        echo: bool = True,
        timeout: float = 5.0,
    ) -> AsyncSubscription:
        """Join a group and iterate what is broadcast and groupcast to it.

        A groupcast is handled when the next message is asked for. Otherwise as ``subscribe``.
        """
        options = {"buffer": buffer, "policy": policy, "echo": echo}
        return self._subscription(group_subject(group), timeout, options)

    def _subscription(
        self, pattern: str, timeout: float, options: dict[str, Any]
    ) -> AsyncSubscription:
        host = self.host
        core = Subscription(pattern, host.runner, **options)
        return AsyncSubscription(host.engine, core, host.loop, timeout)
