"""``meshctl iterate``: the items of a generator as they come, and how it ends."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import AsyncIterator, Callable, Iterator

import pytest

import mesh
from tests.net.inside import Inside, inside, without_multicast
from tests.net.test_cli import RUN_SECONDS, Meshctl, is_one_line

__all__ = ["inside", "without_multicast"]


@pytest.fixture
def meshctl(mesh_name: str) -> Iterator[Meshctl]:
    runner = Meshctl(mesh_name)
    yield runner
    runner.end()


class Logs:
    """A node with generators; ``ended`` is set when the endless one is."""

    def __init__(self, make_node: Callable[..., mesh.Node]) -> None:
        self.ended = threading.Event()
        self.node = make_node("logs")

        @self.node.rpc
        def count(to: int) -> Iterator[int]:
            yield from range(to)

        @self.node.rpc
        async def tail(*, level: str = "info") -> AsyncIterator[dict[str, str]]:
            try:
                yield {"level": level}
                await asyncio.get_running_loop().create_future()
            finally:
                self.ended.set()

        @self.node.rpc
        def fail() -> Iterator[str]:
            yield "one"
            raise ValueError("no more")

        @self.node.rpc
        def add(a: int, b: int) -> int:
            return a + b

        self.node.start()


@pytest.fixture
def logs(make_node: Callable[..., mesh.Node]) -> Logs:
    return Logs(make_node)


def test_each_item_is_printed_and_the_end_is_its_end(inside: Inside, logs: Logs) -> None:
    done = inside("iterate", "logs.count", "3")
    assert (done.code, done.out, done.err) == (0, "0\n1\n2\n", "")
    done = inside("iterate", "--json", "logs.count", "100000", "--count", "3")
    assert (done.code, done.lines) == (0, [0, 1, 2])
    peer = inside("iterate", "logs.count", "1", "--peer", logs.node.id[:6])
    assert (peer.code, peer.out) == (0, "0\n")
    key = inside("iterate", "logs.count", "1", "--key", "a")
    assert (key.code, key.out) == (0, "0\n")


@pytest.mark.parametrize("end", ["signal", "reader"])
def test_it_comes_at_once_and_the_generator_is_cancelled_at_the_end(
    meshctl: Meshctl, logs: Logs, end: str
) -> None:
    script = meshctl.start("iterate", "logs.tail", "level=warning", "--json")
    assert script.process.stdout is not None
    assert script.process.stdout.readline() == '{"level": "warning"}\n'
    assert not logs.ended.is_set()
    if end == "signal":
        script.signal(signal.SIGINT)
    else:
        script.process.stdout.close()
    assert script.wait(RUN_SECONDS) == (130 if end == "signal" else 0)
    assert logs.ended.wait(RUN_SECONDS)
    script.check()


def test_what_goes_wrong_is_one_line(inside: Inside, logs: Logs) -> None:
    for words, out, text in (
        (("logs.fail",), "one\n", "ValueError: no more"),
        (("logs.tail", "--item-timeout", "0.2"), '{"level": "info"}\n', "no item came in time"),
        (("logs.add", "1", "2"), "", "has one answer"),
        (("logs.nothing",), "", "nothing"),
        (("logs.count", "3", "--peer", "nobody"), "", "'nobody'"),
    ):
        done = inside("iterate", *words)
        assert (done.code, done.out) == (1, out)
        assert is_one_line(done.err)
        assert text in done.err
    assert inside("iterate", "logs").code == 2
