"""Publish: from a subject to the nodes that want it, on the hottest path of a sender.

The same for the loop and for any other thread (``mesh.publishing``): those differ in their
``Sending``, and in how they get at what only the loop may touch.

What is not plain comes behind: those who are absent are counted for, and each queue group that
listens gets a copy of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from mesh.engine.absent import Absent
from mesh.engine.packing import PAYLOAD_PART_BYTES
from mesh.engine.sending import Sending
from mesh.links import PARCEL_BYTES
from mesh.wire.frames import PUBLISH
from patterns.groupcast import CastSender
from patterns.pubsub import PubSub
from patterns.queuegroups import Route

__all__ = ["Publisher", "Publishing"]


class Publishing(Protocol):
    """A ``Publisher``, or what stands for one."""

    def publish(self, subject: str, data: Any, headers: dict[str, str] | None) -> int: ...


class Publisher:
    """The verb; on the loop's thread."""

    def __init__(
        self, sending: Sending, pubsub: PubSub, absent: Absent, sender: CastSender
    ) -> None:
        self._sending = sending
        self._pack = sending.codec.pack
        self._pubsub = pubsub
        self._routes = pubsub.routes
        self._queues = pubsub.queues
        self._absent = absent
        self.sender = sender

    def publish(self, subject: str, data: Any, headers: dict[str, str] | None) -> int:
        """To every node with a matching subscription; returns how many.

        Raises BadName, BadPayload, PayloadTooLarge.
        """
        try:
            targets = self._routes[subject]
        except (KeyError, TypeError):
            targets = self._find_route(subject)
        sending = self._sending
        if not targets:
            # Nobody hears it, and what is wrong with it is its caller's all the same.
            if headers is not None or len(self._pack((subject, data))) > PARCEL_BYTES:
                sending.pack(subject, data, headers)
        elif headers is not None or (data.__class__ is bytes and len(data) >= PAYLOAD_PART_BYTES):
            sending.send(PUBLISH, targets, *sending.pack(subject, data, headers))
        else:
            entry = self._pack((subject, data))
            # What ``send`` looks at first, without the call.
            audience, batch = sending.last
            if targets is not audience or not batch.append(entry):
                sending.send(PUBLISH, targets, entry)
        if self._absent.nodes:
            self._count_absent(subject)
        if self._queues.is_empty:
            return len(targets)
        return len(targets) + self._publish_copies(subject, data, headers)

    def _publish_copies(self, subject: str, data: Any, headers: dict[str, str] | None) -> int:
        """One for each queue group that listens; returns how many."""
        route = self._find_queues(subject)
        if route:
            pack = self._sending.pack_copy
            self.send_copies(subject, [(p, pack(p, subject, data, headers)) for p, _ in route])
        return len(route)

    def send_copies(self, subject: str, copies: Sequence[tuple[str, bytes]]) -> None:
        """Give each copy to its queue group."""
        for pool, entry in copies:
            members = self._queues.members(pool, subject)
            if members:
                self.sender.copy(pool, subject, members, entry)

    # What only the loop may touch.

    def _find_route(self, subject: str) -> tuple[Any, ...]:
        return self._pubsub.route(subject)

    def _find_queues(self, subject: str) -> Route:
        return self._queues.route(subject)

    def _count_absent(self, subject: str) -> None:
        self._absent.count(subject)
