"""Laws of how much of a network's packets is heard."""

from __future__ import annotations

import asyncio
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from discovery.pace import BURST, PACKETS_PER_SECOND, Pace, PacedLoop


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@given(st.lists(st.floats(0.0, 2.0), max_size=200))
def test_no_more_is_heard_than_the_burst_and_the_pace(pauses: list[float]) -> None:
    clock = Clock()
    pace = Pace(PACKETS_PER_SECOND, BURST, clock)
    heard = 0
    for pause in pauses:
        clock.now += pause
        heard += sum(pace.may_pass() for _ in range(300))
        assert heard <= BURST + clock.now * PACKETS_PER_SECOND
    assert heard + pace.dropped == 300 * len(pauses)


def test_within_the_pace_everything_is_heard() -> None:
    clock = Clock()
    pace = Pace(PACKETS_PER_SECOND, BURST, clock)
    for _ in range(10 * int(BURST)):
        clock.now += 1.01 / PACKETS_PER_SECOND
        assert pace.may_pass()


def test_all_datagrams_of_a_loop_keep_to_one_pace() -> None:
    heard: list[bytes] = []

    class Listener(asyncio.DatagramProtocol):
        def datagram_received(self, data: bytes, addr: Any) -> None:
            heard.append(data)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, PacedLoop)
        loop.pace = Pace(
            PACKETS_PER_SECOND, BURST, Clock()
        )  # time stands still: the burst is all there is
        pairs = [
            await loop.create_datagram_endpoint(Listener, local_addr=("127.0.0.1", 0))
            for _ in range(2)
        ]
        speaker, _ = await loop.create_datagram_endpoint(
            asyncio.DatagramProtocol, local_addr=("127.0.0.1", 0)
        )
        sent = 0
        while sent < BURST * 3 and not loop.pace.dropped:
            for transport, _ in pairs:
                speaker.sendto(b"%d" % sent, transport.get_extra_info("sockname"))
                sent += 1
            await asyncio.sleep(0)
        for transport in (speaker, *(transport for transport, _ in pairs)):
            transport.close()

    with asyncio.Runner(loop_factory=PacedLoop) as runner:
        runner.run(asyncio.wait_for(main(), 30))
    assert len(heard) == BURST


def test_what_stands_before_a_protocol_looks_like_it() -> None:
    """zeroconf cancels the timers of listeners that it gets back from its transports."""

    class Listener(asyncio.DatagramProtocol):
        transport = "its own"

    async def main() -> None:
        loop = asyncio.get_running_loop()
        transport, protocol = await loop.create_datagram_endpoint(
            Listener, local_addr=("127.0.0.1", 0)
        )
        transport.close()
        assert protocol.transport == "its own"

    with asyncio.Runner(loop_factory=PacedLoop) as runner:
        runner.run(asyncio.wait_for(main(), 30))
