"""A codec for each thread: one reuses its packer, which is what makes it fast."""

from __future__ import annotations

import threading

from mesh.wire.codec import Codec

__all__ = ["thread_codec"]

_local = threading.local()


def thread_codec() -> Codec:
    """That of this thread."""
    codec: Codec | None = getattr(_local, "codec", None)
    if codec is None:
        codec = _local.codec = Codec()
    return codec
