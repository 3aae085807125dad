"""A node's randomness: quick where it only balances, and not to be guessed where it is a secret.

Surprise: ``random()`` draws from the generator, ``getrandbits`` from the system. A dial's number is
drawn by the latter, for whoever knows it can end that link in our name; providers and pauses are
drawn by the former, many times a millisecond, and nobody gains by guessing them.
"""

from __future__ import annotations

import random
import secrets

__all__ = ["Chance"]


class Chance(random.Random):
    """Seeded by the system, and by nothing that others know."""

    def getrandbits(self, k: int, /) -> int:
        return secrets.randbits(k)
