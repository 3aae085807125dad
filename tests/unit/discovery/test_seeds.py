"""Laws of the seeds: told at start and again, the own address never."""

import asyncio
from typing import Any

import pytest

from discovery import Candidate, Seeds
from tests.unit.discovery.helpers import announcement, run_virtual


def test_seeds_are_told_at_start_and_again_every_interval() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        told: list[tuple[float, str]] = []

        def found(candidate: Candidate) -> None:
            assert candidate.source == "seeds"
            assert candidate.id is None
            told.append((round(loop.time()), *candidate.addresses))

        seeds = Seeds(["calc:5000", "[2001:DB8::0]:5000", "calc:5000"], interval=5.0)
        await seeds.start(announcement(), found)
        await asyncio.sleep(11)
        assert told == [(t, a) for t in (0, 5, 10) for a in ("calc:5000", "[2001:db8::]:5000")]
        assert (seeds.state.status, seeds.state.seen) == ("working", 2)
        await seeds.close()
        await asyncio.sleep(11)
        assert len(told) == 6
        assert seeds.state.status == "closed"

    run_virtual(main())


def test_a_node_that_is_a_seed_itself_is_not_told_its_own_address() -> None:
    async def main() -> None:
        told: list[Candidate] = []
        seeds = Seeds(["127.0.0.1:5001", "127.0.0.1:5002"])
        await seeds.start(announcement(1), told.append)
        await asyncio.sleep(1)
        await seeds.close()
        assert [candidate.addresses for candidate in told] == [("127.0.0.1:5002",)]

    run_virtual(main())


def test_a_consumer_that_raises_ends_neither_the_round_nor_the_rounds() -> None:
    async def main() -> None:
        reported: list[dict[str, Any]] = []
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: reported.append(context))
        calls: list[Candidate] = []

        def found(candidate: Candidate) -> None:
            calls.append(candidate)
            raise RuntimeError("consumer")

        seeds = Seeds(["a:1", "b:1"], interval=1.0)
        await seeds.start(announcement(), found)
        await asyncio.sleep(1.5)
        await seeds.close()
        assert len(calls) == 4
        assert [str(context["exception"]) for context in reported] == ["consumer"] * 4

    run_virtual(main())


@pytest.mark.parametrize("addresses", [["calc"], ["calc:5000", "::1:5000"], "calc:5000"])
def test_a_bad_seed_is_refused_at_once(addresses: Any) -> None:
    with pytest.raises(ValueError, match=r"port|brackets|list"):
        Seeds(addresses)


def test_an_interval_that_is_not_positive_is_refused() -> None:
    with pytest.raises(ValueError, match="positive"):
        Seeds(["calc:5000"], interval=0)


def test_a_source_is_started_once() -> None:
    async def main() -> None:
        seeds = Seeds([])
        await seeds.start(announcement(), lambda _: None)
        with pytest.raises(RuntimeError, match="make a new one"):
            await seeds.start(announcement(), lambda _: None)
        await seeds.close()
        await seeds.close()

    run_virtual(main())
