"""A node's randomness: what others see of it says nothing of what comes."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any

from mesh.environment import Environment
from mesh.runtime.chance import Chance
from mesh.settings import Settings


def settings() -> Settings:
    nothing: Iterator[Any] = iter(())
    return Settings.make(
        "calc", mesh=None, key=None, insecure=None, host=None, port=0, seeds=nothing,
        discovery=(), interfaces=(), tags=None, instance=None, weight=1.0, observer=False,
        plain=None, max_payload_bytes=None,
    )  # fmt: skip


def test_whoever_knows_a_nodes_id_cannot_draw_its_numbers() -> None:
    given = settings()
    chance = Environment().random(given)
    assert isinstance(chance, Chance)
    drawn = [chance.getrandbits(32) for _ in range(100)]
    for seed in (given.id, given.id.hex(), given.name):
        known = Random(seed)
        assert not set(drawn) & {known.getrandbits(32) for _ in range(1000)}


def test_the_numbers_of_dials_do_not_come_from_what_the_quick_draws_give_away() -> None:
    chance = Chance()
    chance.seed(7)
    first = [chance.random() for _ in range(3)], chance.getrandbits(64)
    chance.seed(7)
    second = [chance.random() for _ in range(3)], chance.getrandbits(64)
    assert first[0] == second[0]
    assert first[1] != second[1]
