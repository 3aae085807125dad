"""What the gateway's own policy denies is a prefix refused, and not an error of its sockets."""

from __future__ import annotations

from typing import Any

from mesh.plain.feed import PlainFeed
from mesh.wire.codec import Codec
from patterns.errors import AccessDenied


class Denying:
    def subscribe(self, subscription: Any) -> None:
        raise AccessDenied("no", "default")


def test_a_prefix_that_the_policy_denies_is_refused_and_counted() -> None:
    counted: list[str] = []
    engine: Any = Denying()
    feed = PlainFeed(engine, engine, Codec(), lambda frame: None, counted.append)
    feed.on_prefix(b"secrets.", True)
    feed.on_prefix(b"secrets.", False)
    assert counted == ["plain_prefixes_refused"]
