"""What is said of a queue and of a job: also a store that the program has made."""

from __future__ import annotations

from pathlib import Path

import pytest

import mesh
from mesh.stores import MemoryStore
from mesh.testing import SimMesh


def test_queues_are_kept_in_the_store_that_they_were_given() -> None:
    store = MemoryStore()
    with SimMesh(seed=1) as sim:
        shop = sim.node("shop")

        async def body() -> None:
            for name in ("orders", "invoices"):
                await shop.queue(name, store=store).put(name)

        sim.run(body())
    assert store.last_number == 2
    assert all(len(store.line(name, "").tickets) == 1 for name in ("orders", "invoices"))


@pytest.mark.parametrize("store", ["jobs.db", "sqlite:///", "redis://here", Path("jobs.db"), 7])
def test_what_is_no_store_is_told_at_once(store: object) -> None:
    node = mesh.AsyncNode("shop")
    with pytest.raises(mesh.ConfigError, match="None for memory"):
        node.queue("orders", store=store)  # type: ignore[arg-type]


def test_an_option_that_a_job_does_not_have_is_told() -> None:
    with SimMesh(seed=1) as sim:
        shop = sim.node("shop")

        async def body() -> None:
            with pytest.raises(TypeError, match="no option 'prio': it is one of at, delay"):
                await shop.queue("orders").put(1, prio=2)  # type: ignore[call-arg]

        sim.run(body())
