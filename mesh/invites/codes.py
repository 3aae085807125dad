"""The code of an invite: 60 bits that people can read to each other, and what they stand for.

``XXXX-XXXX-XXXX`` in Crockford's alphabet, which has no I, L, O and U: who reads an O or an l means
0 or 1. Case, blanks and hyphens do not matter.

The key that seals the exchange is stretched as a passphrase is, so each guess costs 0.1 s: all 2^60
would take a hundred thousand machines 36,000 years, and an invite lives for minutes. Its
fingerprint, which the inviter announces, comes out of the same derivation and is no cheaper to
guess against.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from functools import cached_property
from typing import Self

from mesh.security.keys import derive
from patterns.errors import ConfigError

__all__ = ["Code"]

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
LOOK_ALIKES = str.maketrans("ILO", "110")
CHARS = 12
"""Of 5 bits each."""

GROUP = 4
PURPOSE = "invite"
"""In the place of a mesh's name: the same words as the key of a mesh give another secret."""


@dataclass(frozen=True)
class Code:
    """The characters of a code, without hyphens; ``str`` has them, too. ``parse`` and ``new`` make
    valid ones."""

    chars: str = field(repr=False)

    @classmethod
    def new(cls) -> Self:
        return cls("".join(secrets.choice(ALPHABET) for _ in range(CHARS)))

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises ConfigError for what is no code."""
        chars = "".join(text.replace("-", "").split()).upper().translate(LOOK_ALIKES)
        if len(chars) != CHARS or not set(chars) <= set(ALPHABET):
            raise ConfigError(
                "that is no code of an invite: one has 12 letters and digits, as in XXXX-XXXX-XXXX"
            )
        return cls(chars)

    def __str__(self) -> str:
        return "-".join(self.chars[at : at + GROUP] for at in range(0, CHARS, GROUP))

    @property
    def key(self) -> bytes:
        """What seals the exchange, 32 bytes. The first use of it or ``fingerprint`` takes 0.1 s."""
        return self._derived[0]

    @property
    def fingerprint(self) -> str:
        """By which the inviter is found."""
        return self._derived[1]

    @cached_property
    def _derived(self) -> tuple[bytes, str]:
        return derive(self.chars, PURPOSE)
