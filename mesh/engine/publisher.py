"""Publish: from a subject to the nodes that want it, on the hottest path of a sender.

What is not plain comes behind: those who are absent are counted for, and each queue group that
listens gets a copy of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mesh.engine.absent import Absent
from mesh.engine.packing import PAYLOAD_PART_BYTES
from mesh.engine.sending import Sending
from mesh.links import PARCEL_BYTES
from mesh.wire.frames import PUBLISH
from patterns.groupcast import CastSender
from patterns.pubsub import PubSub

__all__ = ["Publisher"]


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
        self._sender = sender

    def publish(self, subject: str, data: Any, headers: dict[str, str] | None) -> int:
        """To every node with a matching subscription; returns how many.

        Raises BadName, BadPayload, PayloadTooLarge.
        """
        try:
            targets = self._routes[subject]
        except (KeyError, TypeError):
            targets = self._pubsub.route(subject)
        sending = self._sending
        if not targets:
            # Nobody hears it, and what is wrong with it is its caller's all the same.
            if headers is not None or len(self._pack((subject, data))) > PARCEL_BYTES:
                sending.pack(sending.codec, subject, data, headers)
        elif headers is not None or (data.__class__ is bytes and len(data) >= PAYLOAD_PART_BYTES):
            sending.send(PUBLISH, targets, *sending.pack(sending.codec, subject, data, headers))
        else:
            entry = self._pack((subject, data))
            # What ``send`` looks at first, without the call.
            if targets is not sending.audience or not sending.batch.append(entry):
                sending.send(PUBLISH, targets, entry)
        if self._absent.nodes:
            self._absent.count(subject)
        if self._queues.is_empty:
            return len(targets)
        return len(targets) + self._publish_copies(subject, data, headers)

    def _publish_copies(self, subject: str, data: Any, headers: dict[str, str] | None) -> int:
        """One for each queue group that listens; returns how many."""
        route = self._queues.route(subject)
        if route:
            pack, codec = self._sending.pack_copy, self._sending.codec
            self.send_copies(
                subject, [(p, pack(codec, p, subject, data, headers)) for p, _ in route]
            )
        return len(route)

    def send_copies(self, subject: str, copies: Sequence[tuple[str, bytes]]) -> None:
        """Give each copy to its queue group."""
        for pool, entry in copies:
            members = self._queues.members(pool, subject)
            if members:
                self._sender.copy(pool, subject, members, entry)
