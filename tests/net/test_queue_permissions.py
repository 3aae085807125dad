"""What a policy denies of queues is AccessDenied where it is asked for, and goes round no loop."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

import mesh
from tests.net.identities import Mint
from tests.net.queue_help import Ledger, MakeAsync, quick, started
from tests.net.test_async_node import runs

POLICY = """
default = "allow"

[[rule]]
name = "shops-only-put"
who = ["role:shop"]
deny.call = ["_queue-mail.work", "_queue-mail.look", "_queue-mail.manage"]

[[rule]]
name = "workers-only-work"
who = ["role:worker"]
deny.call = ["_queue-mail.put", "_queue-secret.put"]
"""


@runs
async def test_what_a_policy_denies_of_queues_is_denied_and_does_not_spin(
    make_async: MakeAsync, mesh_name: str, tmp_path: Path
) -> None:
    mint = Mint(tmp_path, mesh_name)
    policy = tmp_path / "policy.toml"
    policy.write_text(POLICY)

    def make(name: str, *roles: str, **more: Any) -> mesh.AsyncNode:
        identity = str(mint.identity(name, *roles))
        return make_async(name, mesh=None, host="127.0.0.1", identity=identity, **more)

    home = make("home", policy=str(policy))
    shop, worker = make("shop", "shop"), make("worker", "worker")
    here = home.queue("mail")
    secret = home.queue("secret")
    at_shop, at_worker = shop.queue("mail", hosts="home"), worker.queue("mail", hosts="home")
    stolen, seen = Ledger(), Ledger()

    @shop.worker("mail")
    async def steal(job: mesh.HeldJob) -> None:
        stolen.add(job.data)

    @worker.worker("mail", retry=quick(attempts=1))
    async def handle(job: mesh.HeldJob) -> None:
        seen.add(job.data)
        if job.data == "commit":
            async with worker.transaction(job) as transaction:
                transaction.put("secret", "let in")
        if job.data == "allowed":
            async with worker.transaction(job) as transaction:
                transaction.put("other", "let in")

    async with started(home, shop, worker):
        for node in (shop, worker):
            await node.wait_for("home", timeout=10)
        await at_shop.put("x")
        assert await seen.wait(1) == ["x"]
        with pytest.raises(mesh.AccessDenied):
            await at_worker.put("y")
        with pytest.raises(mesh.AccessDenied):
            await at_shop.pause()
        assert (await at_worker.stats()).done == 1
        with pytest.raises(mesh.JobFailed, match=r"\.AccessDenied: .*workers-only-work"):
            await (await here.put("commit")).result(5)
        assert (await secret.stats()).put == 0
        await (await here.put("allowed")).result(5)
        denied = home.counters()["denied_call"]
        await asyncio.sleep(0.3)
        assert home.counters()["denied_call"] - denied <= 1
        assert denied <= 6
        assert stolen.seen == []
