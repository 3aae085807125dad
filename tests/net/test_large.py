"""Large payloads between real processes: every verb, bounded memory, nothing small waits."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable

import pytest

import mesh
from tests.net.processes import NodeProcess, until

Start = Callable[..., NodeProcess]
Make = Callable[..., mesh.Node]

MIB = 1024 * 1024
LARGEST = 64 * MIB - 1024
WITHIN = 60.0


@pytest.mark.parametrize(("size", "key"), [(MIB, None), (20 * MIB, "some words"), (LARGEST, None)])
def test_every_verb_carries_a_large_payload(make_node: Make, size: int, key: str | None) -> None:
    sender, receiver = make_node("sender", key=key), make_node("receiver", key=key)
    got: list[tuple[str, int, bool]] = []

    def on_message(message: mesh.Message) -> None:
        got.append((message.kind, len(message.data), message.redelivered))

    receiver.subscriber("large")(on_message)
    receiver.subscriber("large", group="queue")(on_message)
    receiver.member("crew")(on_message)
    receiver.rpc("echo")(lambda data: data)
    with sender, receiver:
        sender.wait_for("receiver", timeout=20)
        sender.wait_for(group="crew", timeout=20)
        data = bytes(size)
        assert sender.publish("large", data) == 2
        assert sender.broadcast("crew", data) == 1
        assert sender.send(receiver.id, "large", data)
        sender.groupcast("crew", data, timeout=WITHIN)
        assert len(sender.service("receiver", timeout=WITHIN).echo(data)) == size
        sender.flush(WITHIN)
        kinds = ["broadcast", "groupcast", "publish", "publish", "send"]
        until(lambda: sorted(kind for kind, *_ in got) == kinds, WITHIN)
        assert {(length, again) for _, length, again in got} == {(size, False)}
        assert not {"gaps", "bad_frames", "bad_acks"} & set(receiver.counters() | sender.counters())


def test_small_calls_go_on_and_memory_stays_bounded_while_large_messages_flow(
    start_process: Start, make_node: Make
) -> None:
    receiver = start_process("receiver")
    sender = make_node("sender").start()
    sender.wait_for("receiver", timeout=20)
    receiver.ask("subscribe", pattern="large")
    before = resident(receiver.pid)
    over = threading.Event()
    sent = 0

    def publish() -> None:
        nonlocal sent
        data = bytes(16 * MIB)
        while not over.is_set():
            sender.publish("large", [sent, data])
            sent += 1
            sender.flush(WITHIN)

    publisher = threading.Thread(target=publish)
    publisher.start()
    service = sender.service("receiver", timeout=WITHIN)
    took, most = [], 0
    try:
        while len(took) < 200:
            began = time.perf_counter()
            assert service.echo(1) == 1
            took.append(time.perf_counter() - began)
            most = max(most, resident(receiver.pid))
    finally:
        over.set()
        publisher.join(WITHIN)
    assert sent > 3
    assert statistics.median(took) < 0.5
    assert most - before < 600 * MIB


def resident(pid: int) -> int:
    """Bytes of a process's memory."""
    with open(f"/proc/{pid}/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * 4096
