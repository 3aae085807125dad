"""Inputs that are tried in every run, as text: ``<target>.txt`` with one input a line, in hex.

What stands behind ``#`` says what the input did. A case that a run finds is added by ``save``.
"""

from __future__ import annotations

from pathlib import Path

__all__ = ["CORPUS", "load", "save"]

CORPUS = Path(__file__).resolve().parent.parent / "corpus"


def load(name: str) -> list[bytes]:
    """The kept inputs of a target."""
    path = CORPUS / f"{name}.txt"
    if not path.exists():
        return []
    lines = (line.partition("#")[0].strip() for line in path.read_text("ascii").splitlines())
    return [bytes.fromhex(line) for line in lines if line]


def save(name: str, data: bytes, why: str) -> None:
    """Keep one more."""
    CORPUS.mkdir(exist_ok=True)
    with (CORPUS / f"{name}.txt").open("a", encoding="ascii") as file:
        file.write(f"{data.hex()}  # {why[:100]!a}\n")
