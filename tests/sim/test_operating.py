"""What the service ``_mesh`` lets others have a node do: drain, and set its log levels."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

import mesh
from mesh.engine.inspection import MAX_LEFT
from mesh.inspection import log_levels
from mesh.inspection.operating import MAX_DRAIN_SECONDS
from mesh.streaming import generator_method
from mesh.testing import SimMesh
from tests.sim.test_inspection import ask, pair


@pytest.fixture
def sim() -> Iterator[SimMesh]:
    with SimMesh(seed=1) as sim:
        yield sim


@pytest.fixture(autouse=True)
def _levels() -> Iterator[None]:
    """Whatever a failing test leaves behind is put back."""
    before = logging.getLogger("mesh").level
    yield
    logging.getLogger("mesh").setLevel(before)
    assert log_levels._changes == {}


def tell(
    sim: SimMesh, looker: mesh.AsyncNode, peer: mesh.AsyncNode, what: str, **given: Any
) -> Any:
    return sim.run(looker.service("_mesh", peer=peer.id)[what](**given))


def test_methods_are_described_with_the_groups_and_subscriptions_of_the_node(sim: SimMesh) -> None:
    calc, looker = pair(sim)
    calc.member("workers")(lambda message: None)
    calc.subscriber("orders.>", group="billing")(lambda message: None)
    told = tell(sim, looker, calc, "describe")
    assert [one["name"] for one in told["methods"]] == ["calc.add", "calc.nap"]
    assert told["methods_left_out"] == 0
    assert told["groups"] == ["workers"]
    assert {one["queue"] for one in told["subscriptions"]} == {"billing", None}
    assert tell(sim, looker, calc, "describe", service="other")["methods"] == []


def test_a_drain_goes_on_by_itself_and_tells_what_runs_until_nothing_does(sim: SimMesh) -> None:
    calc, looker = pair(sim)

    async def drain() -> list[Any]:
        nap = asyncio.ensure_future(looker.call("calc.nap", 2.0))
        await asyncio.sleep(0.1)
        drain = looker.service("_mesh", peer=calc.id)["drain"]
        told = [await drain(timeout=10.0)]
        await asyncio.sleep(1.0)
        told.append(await drain(timeout=10.0))
        await nap
        await asyncio.sleep(1.5)
        told.append(await drain())
        return told

    begun, going, ended = sim.run(drain())
    assert begun == {
        "has_begun": True,
        "is_over": False,
        "left": ["1 of calc.nap() run", f"{looker.me} has not confirmed"],
        "ends": False,
    }
    assert going["left"] == ["1 of calc.nap() run"]
    assert (ended["is_over"], ended["left"]) == (True, [])
    assert ask(sim, looker, calc.id, "totals")["totals"]["drain"]["is_over"]


def test_a_drain_waits_for_no_one_who_looks(sim: SimMesh) -> None:
    calc, looker = pair(sim)
    host = calc.host

    async def ticks() -> AsyncIterator[int]:
        number = 0
        while True:
            yield (number := number + 1)
            await asyncio.sleep(0.05)

    tap = generator_method("ticks", ticks, lambda: host, concurrency=4, inline=True)
    host.engine.server.add("_mesh", tap)

    async def drain() -> tuple[Any, int]:
        seen = 0
        items = looker.service("_mesh", peer=calc.id).iterate.ticks()
        drain = looker.service("_mesh", peer=calc.id)["drain"]
        told = await drain()
        async for _ in items:
            seen += 1
            if seen % 20 == 0:
                told = await drain()
                if told["is_over"] or seen > 200:
                    break
        return told, seen

    told, seen = sim.run(drain())
    assert told["is_over"], told
    assert seen <= 60, "it takes no longer than without"


def test_what_is_left_of_a_drain_has_a_bound(sim: SimMesh) -> None:
    calc, looker = pair(sim)

    async def nap() -> None:
        await asyncio.sleep(5.0)

    for number in range(MAX_LEFT + 4):
        calc.rpc(f"nap{number}")(nap)

    async def drain() -> Any:
        await looker.wait_for("calc")
        await asyncio.sleep(0.1)
        calls = [
            asyncio.ensure_future(looker.call(f"calc.nap{number}"))
            for number in range(MAX_LEFT + 4)
        ]
        await asyncio.sleep(0.1)
        drain = looker.service("_mesh", peer=calc.id)["drain"]
        await drain()
        await asyncio.sleep(0.5)
        told = await drain()
        await asyncio.gather(*calls, return_exceptions=True)
        return told

    left = sim.run(drain())["left"]
    assert len(left) == MAX_LEFT + 1
    assert left[-1] == "and 4 more"


def test_a_node_in_run_ends_after_its_drain_and_another_one_is_refused_before(
    sim: SimMesh,
) -> None:
    calc, looker = pair(sim)
    with pytest.raises(mesh.RemoteError, match="not in run"):
        tell(sim, looker, calc, "drain", stop=True)
    assert not ask(sim, looker, calc.id, "totals")["totals"]["drain"]["has_begun"]

    runs: list[mesh.AsyncNode] = []

    async def main() -> None:
        node = mesh.AsyncNode("runner")
        runs.append(node)

        @node.rpc
        async def nap(seconds: float) -> None:
            await asyncio.sleep(seconds)

        await node.run()

    sim.spawn(main)
    sim.until(lambda: any(p.name == "runner" for p in looker.peers()), within=10.0)

    async def stop() -> None:
        nap = asyncio.ensure_future(looker.call("runner.nap", 1.0))
        await asyncio.sleep(0.1)
        told = await looker.service("_mesh", peer=runs[0].id)["drain"](stop=True)
        assert told["ends"]
        await nap

    sim.run(stop())
    sim.until(lambda: runs[0].is_closed, within=10.0)


@pytest.mark.parametrize(
    ("first", "patience", "ends_after"),
    [
        (1.0, 20.0, 6.0),  # it has less patience, but did not ask for the end
        (60.0, 2.0, 2.0),  # it has more
        (1.0, 3.0, 3.0),
    ],
)
def test_how_long_a_drain_that_ends_may_take_says_who_asked_for_the_end(
    sim: SimMesh, first: float, patience: float, ends_after: float
) -> None:
    _, looker = pair(sim)
    runs: list[mesh.AsyncNode] = []

    async def main() -> None:
        node = mesh.AsyncNode("runner")
        runs.append(node)
        node.rpc("nap")(asyncio.sleep)
        await node.run()

    sim.spawn(main)
    sim.until(lambda: any(p.name == "runner" for p in looker.peers()), within=10.0)
    node = runs[0]

    async def stop() -> float:
        nap = asyncio.ensure_future(looker.service("runner", timeout=30.0).nap(6.0))
        await asyncio.sleep(0.1)
        drain = looker.service("_mesh", peer=node.id)["drain"]
        await drain(timeout=first)
        await drain(timeout=patience, stop=True)
        began = asyncio.get_running_loop().time()
        await asyncio.wait([nap])
        assert (nap.exception() is None) == (patience > 6.0)
        while not node.is_closed:  # noqa: ASYNC110  nothing else tells
            await asyncio.sleep(0.05)
        return asyncio.get_running_loop().time() - began

    assert sim.run(stop()) == pytest.approx(ends_after, abs=1.5)


@pytest.mark.parametrize("timeout", [-1, MAX_DRAIN_SECONDS + 1, "1", None, True])
def test_a_drain_takes_a_time_that_makes_sense(sim: SimMesh, timeout: Any) -> None:
    calc, looker = pair(sim)
    with pytest.raises(mesh.RemoteError, match="give seconds from 0 to 3600"):
        tell(sim, looker, calc, "drain", timeout=timeout)


# Log levels.


def level_of(name: str = "mesh") -> int:
    return logging.getLogger(name).level


def test_a_level_falls_back_to_what_it_was_before_the_first_change(sim: SimMesh) -> None:
    calc, looker = pair(sim)
    logging.getLogger("mesh").setLevel(logging.ERROR)
    told = tell(sim, looker, calc, "log_level", level="debug", seconds=60)
    assert (told["logger"], told["effect"]) == ("mesh", "DEBUG")
    (own,) = [one for one in told["loggers"] if one["name"] == "mesh"]
    assert (own["level"], own["until"] is not None) == ("DEBUG", True)
    sim.advance(30)
    tell(sim, looker, calc, "log_level", level="INFO", seconds=60)
    sim.advance(45)
    assert level_of() == logging.INFO, "the first change's time does not end the second"
    sim.advance(30)
    assert level_of() == logging.ERROR
    assert tell(sim, looker, calc, "log_level")["loggers"][0]["until"] is None


def test_reset_and_close_put_it_back_at_once(sim: SimMesh) -> None:
    calc, looker = pair(sim)
    before = level_of(), level_of("mesh.rpc")
    tell(sim, looker, calc, "log_level", level="DEBUG")
    tell(sim, looker, calc, "log_level", level="DEBUG", logger="mesh.rpc")
    tell(sim, looker, calc, "log_level", level="reset")
    assert (level_of(), level_of("mesh.rpc")) == (before[0], logging.DEBUG)
    sim.run(calc.close())
    assert level_of("mesh.rpc") == before[1]


def test_the_end_of_a_node_does_not_end_what_another_one_has_set_since(sim: SimMesh) -> None:
    calc, looker = pair(sim)
    before = level_of()
    tell(sim, looker, calc, "log_level", level="DEBUG", seconds=10)
    tell(sim, calc, looker, "log_level", level="INFO", seconds=60)
    sim.run(calc.close())
    sim.advance(30)
    assert level_of() == logging.INFO
    sim.advance(60)
    assert level_of() == before


def test_a_level_that_the_program_set_meanwhile_stays(sim: SimMesh) -> None:
    calc, looker = pair(sim)
    tell(sim, looker, calc, "log_level", level="DEBUG", seconds=10)
    logging.getLogger("mesh").setLevel(logging.CRITICAL)
    sim.advance(20)
    assert level_of() == logging.CRITICAL


@pytest.mark.parametrize("logger", ["", "root", "asyncio", "mesh.no-such-one", "meshes", None, 7])
def test_only_loggers_of_the_mesh_that_are_there_can_be_set(sim: SimMesh, logger: Any) -> None:
    calc, looker = pair(sim)
    with pytest.raises(mesh.RemoteError, match="give one of mesh, mesh"):
        tell(sim, looker, calc, "log_level", level="DEBUG", logger=logger)
    assert (
        not isinstance(logger, str)
        or logger not in logging.root.manager.loggerDict
        or (logger == "asyncio")
    )


@pytest.mark.parametrize(
    "given", [{"level": "LOUD"}, {"level": 7}, {"level": "INFO", "seconds": 0},
              {"level": "INFO", "seconds": 1e9}, {"level": "INFO", "seconds": True}],
)  # fmt: skip
def test_a_level_and_a_time_that_make_no_sense_are_refused(
    sim: SimMesh, given: dict[str, Any]
) -> None:
    calc, looker = pair(sim)
    with pytest.raises(mesh.RemoteError, match="give"):
        tell(sim, looker, calc, "log_level", **given)


def test_whether_anybody_would_see_it_is_told() -> None:
    handler = logging.StreamHandler()
    handler.setLevel(logging.WARNING)
    alone = logging.Logger("alone")
    assert log_levels.shown_by(alone, logging.DEBUG) == []
    assert log_levels.shown_by(alone, logging.WARNING) == ["the last resort"], "it is stderr"
    child = logging.Logger("child")
    child.parent = alone
    alone.addHandler(handler)
    assert log_levels.shown_by(child, logging.INFO) == []
    assert log_levels.shown_by(child, logging.ERROR) == ["StreamHandler"]
    child.propagate = False
    assert log_levels.shown_by(child, logging.ERROR) == ["the last resort"]


@pytest.mark.parametrize("logger", ["mesh", "mesh.audit"])
def test_nobody_silences_from_elsewhere_who_was_denied_what(sim: SimMesh, logger: str) -> None:
    calc, looker = pair(sim)
    logging.getLogger("mesh.audit")
    with pytest.raises(mesh.RemoteError, match="silence"):
        tell(sim, looker, calc, "log_level", level="critical", logger=logger)
    tell(sim, looker, calc, "log_level", level="warning", logger=logger)
    tell(sim, looker, calc, "log_level", level="reset", logger=logger)


def test_who_sets_a_level_and_who_drains_is_named(
    sim: SimMesh, caplog: pytest.LogCaptureFixture
) -> None:
    calc, looker = pair(sim)
    tell(sim, looker, calc, "log_level", level="DEBUG", logger="mesh.rpc")
    tell(sim, looker, calc, "log_level", level="reset", logger="mesh.rpc")
    tell(sim, looker, calc, "drain")
    said = [record.getMessage() for record in caplog.records]
    assert f"{calc.me}: {looker.me} sets the level of the logger mesh.rpc to DEBUG" in said
    assert f"{calc.me}: {looker.me} asked it to drain" in said


def test_a_drain_hands_out_what_its_queues_have_in_memory(sim: SimMesh) -> None:
    calc, looker = pair(sim)
    worker = sim.node("worker")
    done: list[int] = []

    async def drain() -> Any:
        await worker.wait_for("calc")
        queue = calc.queue("mail")
        await queue.put_many([1, 2, 3])

        @worker.worker("mail")
        async def handle(job: mesh.HeldJob) -> None:
            await asyncio.sleep(0.5)
            done.append(job.data)

        await asyncio.sleep(0.2)
        drain = looker.service("_mesh", peer=calc.id)["drain"]
        await drain(timeout=10.0)
        with pytest.raises(mesh.QueueClosed):
            await queue.put(4)
        await asyncio.sleep(4)
        return await drain()

    assert sim.run(drain())["is_over"]
    assert done == [1, 2, 3]
