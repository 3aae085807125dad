"""Nodes that share a zeroconf come, change and go at any moment, from any thread."""

import asyncio
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from discovery import Candidate, Mdns
from discovery.hub import Hub
from tests.net.processes import until as wait_until
from tests.unit.discovery.nodes import announcement, descriptors, new_id, run, until

MOVED_TO = 4242


def no_matter(candidate: Candidate) -> None: ...


async def move_and_leave_at_once() -> None:
    # It asks for something else, and so has another hub.
    observer = Mdns(["lo*"], loopback_only=True)
    await observer.start(announcement(new_id()), no_matter)
    moving, brief = announcement(new_id()), announcement(new_id())
    stays, leaves = Mdns(loopback_only=True), Mdns(loopback_only=True)
    await asyncio.gather(stays.start(moving, no_matter), leaves.start(brief, no_matter))
    stays.update(announcement(moving.id, port=MOVED_TO))
    await leaves.close()

    def found() -> dict[str | None, tuple[str, ...]]:
        return {known.id: known.addresses for known in observer.state.candidates}

    await until(lambda: found().get(moving.id) == (f"127.0.0.1:{MOVED_TO}",))
    await until(lambda: brief.id not in found())
    assert stays.state.status == "working"
    hub = stays._hub
    assert hub is not None
    assert hub._zeroconf is not None
    announced = hub._zeroconf.zeroconf.registry.async_get_service_infos()
    assert [info.port for info in announced] == [MOVED_TO]
    await stays.close()
    await observer.close()


def test_who_moves_or_leaves_before_zeroconf_is_up_is_announced_as_it_is_then() -> None:
    for _ in range(3):
        run("asyncio", move_and_leave_at_once())


async def come_and_go(number: int) -> None:
    for turn in range(6):
        mdns = Mdns(loopback_only=True)
        starting = asyncio.create_task(mdns.start(announcement(new_id()), no_matter))
        await asyncio.sleep(0.01 * ((number + turn) % 3))
        if turn % 2:
            await starting
            mdns.update(announcement(new_id()))
        await mdns.close()
        await starting


def test_hubs_that_are_joined_and_left_from_many_threads_at_once_all_end() -> None:
    threads, files = threading.active_count(), descriptors()
    with ThreadPoolExecutor(5) as pool:
        for done in [pool.submit(asyncio.run, come_and_go(number)) for number in range(5)]:
            done.result(60)
    assert Hub._open == {}
    wait_until(lambda: threading.active_count() == threads and descriptors() == files, 20)


def test_without_zeroconf_the_state_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        monkeypatch.setitem(sys.modules, "zeroconf", None)
        mdns = Mdns(loopback_only=True)
        async with asyncio.timeout(10):
            await mdns.start(announcement(new_id()), no_matter)
        assert mdns.state.status == "failing"
        assert "zeroconf" in mdns.state.reason
        await mdns.close()

    run("asyncio", main())
