"""The way of publishes from other threads to the loop: each once, in order, whoever interferes."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections import deque
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import pytest

from mesh import publishing
from mesh.engine.packing import PAYLOAD_PART_BYTES
from mesh.links import BATCH_BYTES, BATCH_ENTRIES
from mesh.publishing import Publishers, Run, ThreadSending
from mesh.runtime import Handover
from mesh.wire.frames import PUBLISH
from patterns.errors import NodeClosed, PayloadTooLarge

LIMIT = 256 * 1024
ONE, OTHER = ("one",), ("other",)


class Links:
    """Where the loop puts what it takes: each entry, in order, and the sizes of the runs."""

    def __init__(self) -> None:
        self.limit = LIMIT
        self.sent: list[tuple[tuple[Any, ...], bytes]] = []
        self.runs: list[int] = []

    def send(self, kind: int, targets: tuple[Any, ...], entry: bytes, payload: bytes = b"") -> None:
        assert kind == PUBLISH
        self.sent.append((targets, entry + payload))

    def send_run(self, kind: int, targets: tuple[Any, ...], entries: list[bytes]) -> None:
        assert kind == PUBLISH
        assert len(entries) <= BATCH_ENTRIES
        assert sum(map(len, entries)) <= BATCH_BYTES
        self.runs.append(len(entries))
        self.sent += [(targets, entry) for entry in entries]


class Rig:
    """A handover whose loop does not run: ``drain`` is its turn."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.handover = Handover(self.loop)
        self.links = Links()
        engine = SimpleNamespace(sending=self.links, guard=None)
        self.host: Any = SimpleNamespace(engine=engine, handover=self.handover)
        self.drain = self.handover.drain

    def thread(self) -> ThreadSending:
        return ThreadSending(self.host)


@pytest.fixture
def rig() -> Any:
    rig = Rig()
    yield rig
    rig.loop.close()


def publish(sending: ThreadSending, targets: tuple[Any, ...], entry: bytes) -> None:
    """As ``Publisher.publish`` does."""
    audience, batch = sending.last
    if targets is not audience or not batch.append(entry):
        sending.send(PUBLISH, targets, entry)


def test_what_one_thread_publishes_to_the_same_nodes_is_one_item(rig: Rig) -> None:
    sending = rig.thread()
    for number in range(100):
        publish(sending, ONE, b"%d" % number)
    assert len(rig.handover.items) == 1
    rig.drain()
    assert rig.links.sent == [(ONE, b"%d" % number) for number in range(100)]
    assert rig.links.runs == [100]


def test_whatever_is_put_behind_a_run_ends_it(rig: Rig) -> None:
    sending, neighbour = rig.thread(), rig.thread()
    publish(sending, ONE, b"1")
    rig.handover.put(rig.links.sent.append, (("verb", b""),))
    publish(sending, ONE, b"2")
    publish(neighbour, ONE, b"3")
    publish(sending, ONE, b"4")
    publish(sending, OTHER, b"5")
    publish(sending, ONE, b"6")
    rig.drain()
    assert [entry for _, entry in rig.links.sent] == [b"1", b"", b"2", b"3", b"4", b"5", b"6"]


def test_a_run_that_was_taken_grows_no_more(rig: Rig) -> None:
    sending = rig.thread()
    for number in range(3):
        publish(sending, ONE, b"%d" % number)
        rig.drain()
    assert rig.links.runs == [1, 1, 1]


@pytest.mark.parametrize("size", [1, 60, 1000, BATCH_BYTES - 1, BATCH_BYTES])
def test_no_run_is_more_than_a_batch(rig: Rig, size: int) -> None:
    sending = rig.thread()
    entries = [bytes(size)] * (2 * BATCH_ENTRIES if size < 100 else 200)
    for entry in entries:
        publish(sending, ONE, entry)
        if size > 1000:
            rig.drain()
    rig.drain()
    assert rig.links.sent == [(ONE, entry) for entry in entries]


def test_what_is_more_than_a_batch_and_what_is_too_large(rig: Rig) -> None:
    sending = rig.thread()
    large = bytes(BATCH_BYTES + 1)
    publish(sending, ONE, b"1")
    publish(sending, ONE, large)
    sending.send(PUBLISH, ONE, b"2", bytes(PAYLOAD_PART_BYTES))
    with pytest.raises(PayloadTooLarge):
        publish(sending, ONE, bytes(LIMIT + 1))
    publish(sending, ONE, b"3")
    rig.drain()
    sent = [b"1", large, b"2" + bytes(PAYLOAD_PART_BYTES), b"3"]
    assert [entry for _, entry in rig.links.sent] == sent


class Interrupted(deque[bytes]):
    """Entries whose next append is followed by what another thread, or a signal handler, does
    before the thread that appends goes on."""

    what: Any = None

    def append(self, entry: bytes) -> None:
        super().append(entry)
        what, self.what = self.what, None
        if what is not None:
            what()


def interrupt(sending: ThreadSending, what: Any) -> None:
    run = sending.last[1]
    assert isinstance(run, Run)
    entries = run._entries = Interrupted(run._entries)
    entries.what = what


def test_an_entry_that_comes_as_the_loop_takes_its_run_leaves_once(rig: Rig) -> None:
    sending = rig.thread()
    publish(sending, ONE, b"1")
    interrupt(sending, rig.drain)
    publish(sending, ONE, b"2")  # in the run when the loop empties it
    assert [entry for _, entry in rig.links.sent] == [b"1", b"2"]
    publish(sending, ONE, b"3")
    rig.drain()
    assert [entry for _, entry in rig.links.sent] == [b"1", b"2", b"3"]


def test_an_entry_that_comes_after_the_loop_has_taken_its_run_is_handed_over_anew(
    rig: Rig,
) -> None:
    sending = rig.thread()
    publish(sending, ONE, b"1")
    run = sending.last[1]
    assert isinstance(run, Run)

    class Late(deque[bytes]):
        def append(self, entry: bytes) -> None:
            rig.drain()
            super().append(entry)

    run._entries = Late(run._entries)
    publish(sending, ONE, b"2")
    assert [entry for _, entry in rig.links.sent] == [b"1"]
    rig.drain()
    assert [entry for _, entry in rig.links.sent] == [b"1", b"2"]


@pytest.mark.parametrize("is_drained", [False, True])
@pytest.mark.parametrize("targets", [ONE, OTHER])
def test_a_signal_handler_publishes_in_the_middle_of_a_publish(
    rig: Rig, targets: tuple[Any, ...], is_drained: bool
) -> None:
    sending = rig.thread()
    publish(sending, ONE, b"1")

    def handler() -> None:
        publish(sending, targets, b"handler")
        if is_drained:
            rig.drain()

    interrupt(sending, handler)
    publish(sending, ONE, b"2")
    publish(sending, ONE, b"3")
    rig.drain()
    sent = rig.links.sent
    assert sorted(sent) == sorted([(ONE, b"1"), (ONE, b"2"), (ONE, b"3"), (targets, b"handler")])
    own = [entry for _, entry in sent if entry != b"handler"]
    assert own == sorted(own)


def test_from_the_refusal_on_no_run_grows(rig: Rig) -> None:
    sending = rig.thread()
    publish(sending, ONE, b"1")
    rig.handover.refuse()
    with pytest.raises(NodeClosed):
        publish(sending, ONE, b"2")
    rig.drain()
    assert [entry for _, entry in rig.links.sent] == [b"1"]


def test_what_waits_for_the_loop_is_bounded_for_short_runs_too(rig: Rig) -> None:
    """A thread that has to wait is let go by the end."""
    sending = rig.thread()
    count = 0

    def flood() -> None:
        nonlocal count
        with suppress(NodeClosed):
            while count < 100_000:
                publish(sending, (ONE, OTHER)[count % 2], b"x")
                count += 1

    thread = threading.Thread(target=flood)
    thread.start()
    thread.join(1.0)
    rig.handover.close()
    thread.join(10.0)
    assert not thread.is_alive()
    assert count < 20_000


def test_a_signal_handler_publishes_in_the_middle_of_the_first_publish_of_a_thread(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It finds no publisher, and makes one while one is being made."""
    rig.host.is_own_thread = False
    publishers = Publishers(rig.host)
    made: list[object] = []

    def make(host: object) -> object:
        if len(made) == 0:
            made.append(None)
            publishers.add()
        made.append(object())
        return made[-1]

    monkeypatch.setattr(publishing, "ThreadPublisher", make)
    assert publishers.add() is made[-1]
    assert publishers.here.publisher is made[-1]
    assert len(made) == 3


def test_what_comes_behind_an_interrupted_function_is_not_left_lying(rig: Rig) -> None:
    ran: list[int] = []

    def interrupted() -> None:
        raise KeyboardInterrupt

    rig.handover.put(interrupted, ())
    rig.handover.put(ran.append, (1,))
    with pytest.raises(KeyboardInterrupt):
        rig.drain()
    rig.loop.call_soon(rig.loop.stop)
    rig.loop.run_forever()
    assert ran == [1]


@pytest.fixture
def hasty() -> Any:
    """Threads that take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("hasty")
def test_what_threads_publish_at_once_arrives_once_and_in_the_order_of_each(rig: Rig) -> None:
    count, threads = 5_000, 4

    def flood(me: int) -> None:
        sending = rig.thread()
        for number in range(count):
            publish(sending, (ONE, OTHER)[number // 100 % 2], b"%d %d" % (me, number))

    running = [threading.Thread(target=flood, args=(me,)) for me in range(threads)]
    for thread in running:
        thread.start()
    while any(thread.is_alive() for thread in running):
        rig.drain()
    rig.drain()
    by_thread: dict[int, list[int]] = {me: [] for me in range(threads)}
    for _, entry in rig.links.sent:
        me, number = entry.split()
        by_thread[int(me)].append(int(number))
    assert by_thread == {me: list(range(count)) for me in range(threads)}
    assert max(rig.links.runs) > 1


@pytest.mark.usefixtures("hasty")
def test_what_one_thread_publishes_after_another_has_arrives_after_it(rig: Rig) -> None:
    """Two threads that pass a number back and forth: one order for both."""
    rounds = 2_000
    turns = threading.Semaphore(1), threading.Semaphore(0)

    def play(me: int) -> None:
        sending = rig.thread()
        for number in range(me, rounds, 2):
            turns[me].acquire()
            for part in range(3):
                publish(sending, ONE, b"%d" % (3 * number + part))
            turns[1 - me].release()

    running = [threading.Thread(target=play, args=(me,)) for me in range(2)]
    for thread in running:
        thread.start()
    while any(thread.is_alive() for thread in running):
        rig.drain()
    rig.drain()
    assert [int(entry) for _, entry in rig.links.sent] == list(range(3 * rounds))
