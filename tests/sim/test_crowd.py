"""Large meshes converge from one seed."""

from __future__ import annotations

import pytest

from mesh.engine.liveness import ASKS_PER_SECOND
from tests.sim.figures import crowd


@pytest.mark.parametrize("count", [40, pytest.param(1000, marks=pytest.mark.slow)])
@pytest.mark.timeout(7200)
def test_all_know_all_from_one_seed(count: int) -> None:
    made = crowd(count)
    assert made.seconds < 3.0 + count / 50
    # At rest a node asks a bounded number of its peers in a second, and answers.
    assert made.idle[0] < 1.2 * min(count / 2, ASKS_PER_SECOND)
