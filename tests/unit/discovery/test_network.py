"""What counts as a change of the network, on virtual time."""

from __future__ import annotations

import asyncio
from ipaddress import ip_interface

import pytest

from discovery import network
from discovery.interfaces import Interface
from discovery.network import POLL, SLEPT, Network
from tests.unit.discovery.helpers import run_virtual


class World:
    """The machine as `Network` sees it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.interfaces = [Interface("eth0", 2, (ip_interface("10.0.0.2/24"),))]
        self.slept = 0.0
        self.changes = 0
        self.error: OSError | None = None
        monkeypatch.setattr(network, "all_interfaces", self._all)
        monkeypatch.setattr(network.time, "time", self._time)
        self.network = Network((), self._changed)

    def _all(self) -> list[Interface]:
        if self.error is not None:
            raise self.error
        return self.interfaces

    def _time(self) -> float:
        return asyncio.get_running_loop().time() + self.slept

    def _changed(self) -> None:
        self.changes += 1

    async def wait(self) -> int:
        before = self.changes
        await asyncio.sleep(2 * POLL)
        return self.changes - before


def test_other_addresses_a_carrier_that_goes_and_a_sleep_are_changes_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def main() -> None:
        world = World(monkeypatch)
        world.network.start()
        assert world.network.choice.hosts() == ["10.0.0.2"]
        assert await world.wait() == 0
        world.interfaces = [Interface("eth0", 2, (ip_interface("10.0.0.9/24"),))]
        assert await world.wait() == 1
        assert world.network.choice.hosts() == ["10.0.0.9"]
        world.interfaces = [Interface("eth0", 2, world.interfaces[0].addresses, has_carrier=False)]
        assert await world.wait() == 1
        assert world.network.choice.hosts() == []
        world.slept += SLEPT + 0.1
        assert await world.wait() == 1
        world.slept += SLEPT / 2
        assert await world.wait() == 0
        world.network.close()
        world.network.close()

    run_virtual(main())


def test_when_interfaces_cannot_be_listed_the_last_ones_count(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        world = World(monkeypatch)
        world.network.start()
        world.error = OSError("no more descriptors")
        assert await world.wait() == 0
        assert world.network.choice.hosts() == ["10.0.0.2"]
        world.network.close()

    run_virtual(main())
    assert "no more descriptors" in caplog.text
