"""A file to another machine, over one stream; after a cut it goes on where it was.

================================  ================================================================
sender                            receiver
================================  ================================================================
opens, headers ``name``, ``size``
                                  message ``{"offset", "digest"}``: what it has of a file of that
                                  name, and the SHA-256 of that; or ``{"refused", "busy"}``
message ``{"from"}``: the offset
if its own beginning is the same,
else 0
bytes, to the end
message ``{"digest"}`` of it all
                                  ends, trailers ``digest`` of all that it has, and ``saved``, the
                                  name that it got, or ``refused``
ends
================================  ================================================================

Both sides hash what they read and write themselves, the part that was there before as well: the
digests agree only if both have the same file. A receiver may refuse at any time, by its end.
"""

from __future__ import annotations

import hashlib
from typing import Any, BinaryIO

__all__ = ["CHUNK_BYTES", "SERVICE", "hash_of"]

SERVICE = "meshctl-receive"

CHUNK_BYTES = 1024 * 1024
"""Read, hashed and sent in one go."""


def hash_of(file: BinaryIO, size: int) -> tuple[Any, int]:
    """The hash of the next ``size`` bytes, and how many there were."""
    digest = hashlib.sha256()
    done = 0
    while done < size and (data := file.read(min(CHUNK_BYTES, size - done))):
        digest.update(data)
        done += len(data)
    return digest, done
