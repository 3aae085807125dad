"""The claims of the demo, each with what was seen."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from mesh.cli.demo.narrator import Narrator

__all__ = ["Checks"]


@dataclass(frozen=True, slots=True)
class _Check:
    claim: str
    ok: bool
    seen: str


class Checks:
    """Claims so far. None made is no success."""

    def __init__(self, narrator: Narrator) -> None:
        self._narrator = narrator
        self._checks: list[_Check] = []

    def check(self, claim: str, ok: bool, seen: str) -> bool:
        """Record whether ``claim`` held; ``seen`` is the evidence, or what was seen instead."""
        self._checks.append(_Check(claim, ok, seen))
        self._narrator.line(claim, ok, seen)
        return ok

    @property
    def made(self) -> int:
        return len(self._checks)

    @property
    def held(self) -> int:
        return sum(check.ok for check in self._checks)

    @property
    def all_held(self) -> bool:
        return 0 < self.made == self.held

    def as_json(self) -> list[dict[str, Any]]:
        return [asdict(check) for check in self._checks]
