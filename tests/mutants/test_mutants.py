"""Each planted bug is caught by a law, on a seed that is known to do it.

``python -m tests.mutants NAME`` finds such a seed when the plans have changed.
"""

from __future__ import annotations

import logging

import pytest

from tests.mutants.__main__ import caught_by
from tests.mutants.mutants import MUTANTS
from tests.mutants.seeds import SEEDS


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)


@pytest.mark.parametrize("name", MUTANTS)
def test_a_planted_bug_is_caught(name: str) -> None:
    caught = caught_by(name, SEEDS[name])
    assert caught, f"{name} broke no law in seed {SEEDS[name]}: python -m tests.mutants {name}"


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", MUTANTS)
def test_a_planted_bug_is_caught_within_some_hundred_fresh_seeds(name: str) -> None:
    assert any(caught_by(name, seed) for seed in range(200_000, 200_600))
