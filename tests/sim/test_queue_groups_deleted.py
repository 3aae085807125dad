"""A group of workers that nobody needs any more is deleted, with its copies of all jobs."""

from __future__ import annotations

import asyncio

import pytest

import mesh
from mesh.testing import SimMesh


def make_biller() -> mesh.AsyncNode:
    node = mesh.AsyncNode("biller")

    @node.worker("orders", group="billing", max_in_flight=1)
    async def bill(job: mesh.HeldJob) -> None:
        await asyncio.sleep(1000)

    return node


def test_a_deleted_group_is_gone_with_all_its_jobs_at_each_home() -> None:
    with SimMesh(seed=1) as sim:
        biller = sim.add(make_biller)
        shops = [sim.node("shop"), sim.node("shop")]
        first, second = (shop.queue("orders") for shop in shops)

        async def body() -> None:
            await asyncio.sleep(1)
            await first.put_many(range(3))
            await asyncio.sleep(1)
            billing = (await second.stats()).groups["billing"]
            assert (billing.ready, billing.reserved, billing.workers) == (2, 1, 2)
            sim.kill(biller)
            await asyncio.sleep(10)
            with pytest.raises(mesh.BadRequest, match="'orders' has no group 'packing'"):
                await second.delete_group("packing")
            assert await second.delete_group("billing") == 3
            stats = await first.stats()
            assert list(stats.groups) == [""]
            assert stats.ready == 0

        sim.run(body())
