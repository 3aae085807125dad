"""The pytest plugin: the fixture ``sim_mesh``. ``pytest_plugins = ["mesh.testing.plugin"]``."""

from __future__ import annotations

import os
import secrets
from collections.abc import Generator, Iterator

import pytest

from mesh.testing.simmesh import SimMesh

__all__ = ["sim_mesh"]

SEED = "MESH_SIM_SEED"

_seed = pytest.StashKey[int]()
_has_failed = pytest.StashKey[bool]()


@pytest.fixture
def sim_mesh(request: pytest.FixtureRequest) -> Iterator[SimMesh]:
    """A simulated mesh (``mesh.testing.SimMesh``), closed and checked at the test's end.

    Its seed is another one each time, and told when the test fails; ``MESH_SIM_SEED`` sets it.
    """
    text = os.environ.get(SEED, "").strip()
    try:
        seed = int(text) if text else secrets.randbelow(1_000_000)
    except ValueError:
        raise pytest.UsageError(f"{SEED}={text!r}: give a whole number") from None
    request.node.stash[_seed] = seed
    sim = SimMesh(seed)
    try:
        yield sim
    finally:
        # A test that has failed may well have left something; that is not its news.
        sim.close(check=not request.node.stash.get(_has_failed, False))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Tell the seed of a failed test, and how to run it again."""
    report = yield
    seed = item.stash.get(_seed, None)
    if report.failed and seed is not None:
        item.stash[_has_failed] = True
        again = f"{SEED}={seed} pytest '{item.nodeid}'"
        report.sections.append(("simulated mesh", f"the seed was {seed}; to replay: {again}"))
    return report
