"""The test vectors of ``docs/ring.md``, each against the code."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from hashlib import blake2b
from pathlib import Path

import pytest

from mesh.ring import Ring, score, slot_of
from patterns.keys import Key, key_bytes

PAGE = (Path(__file__).parents[4] / "docs/ring.md").read_text(encoding="utf-8")


def rows(section: str) -> list[list[str]]:
    """The cells of a section's table, without its head."""
    text = PAGE.split(f"\n### {section}\n")[1].split("\n#")[0]
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


SLOTS, SCORES, OWNERS = (
    rows("Key to slot"),
    rows("Slot and member to score"),
    rows("Key and members to owners"),
)


def key_of(cell: str) -> Key:
    if cell == "text, empty":
        return ""
    kind, value = re.fullmatch(r"(text|bytes|number) `(.*)`", cell).groups()  # type: ignore[union-attr]
    if kind == "text":
        return value
    return bytes.fromhex(value) if kind == "bytes" else int(value)


def code(cell: str) -> str:
    return cell.strip("`")


def ids(table: Iterable[list[str]]) -> list[str]:
    return [" ".join(row[:2]) for row in table]


def test_the_page_covers_texts_bytes_numbers_and_weights() -> None:
    assert {type(key_of(row[0])) for row in SLOTS} == {str, bytes, int}
    assert any(not row[0].isascii() for row in SLOTS)
    assert {float(row[2]) for row in SCORES} > {1.0, 2.0, 0.5}
    assert min(map(len, (SLOTS, SCORES, OWNERS))) > 10
    assert len({row[2] for row in OWNERS}) > 10


@pytest.mark.parametrize(("key", "form", "digest", "slot"), SLOTS, ids=ids(SLOTS))
def test_a_key_has_this_slot(key: str, form: str, digest: str, slot: str) -> None:
    canonical = key_bytes(key_of(key))
    assert canonical.hex() == code(form)
    assert blake2b(canonical, digest_size=8).hexdigest() == code(digest)
    assert slot_of(canonical) == int(slot)


@pytest.mark.parametrize(("slot", "instance", "weight", "h", "told"), SCORES, ids=ids(SCORES))
def test_a_member_has_this_score(slot: str, instance: str, weight: str, h: str, told: str) -> None:
    data = int(slot).to_bytes(2, "big") + code(instance).encode()
    assert blake2b(data, digest_size=8).hexdigest() == code(h)
    found = score(int(slot), code(instance), float(weight))
    assert math.isclose(found, float(told), rel_tol=1e-12)


class Named(str):
    """An instance as its own handle."""

    __slots__ = ()

    @property
    def id(self) -> str:
        return self


@pytest.mark.parametrize(("key", "members", "owners"), OWNERS, ids=ids(OWNERS))
def test_a_key_has_these_owners(key: str, members: str, owners: str) -> None:
    given = [
        (Named(name), name, float(weight))
        for name, weight in re.findall(r"`([^`]+)` ([\d.]+)", members)
    ]
    found = Ring(given).owners(key_bytes(key_of(key)))
    assert found == [code(name) for name in owners.split(", ")]
