"""A way that loses nothing: whatever links break, all arrives once and in order."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from mesh.links import Arrivals, Resending
from mesh.links.resending import LEAST_WINDOW_BYTES, MAX_WINDOW_BYTES


class Way:
    """A sender, a receiver, and what is on its way between them; links break."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.sender, self.receiver = Resending(1), Arrivals()
        self.unsent: list[bytes] = []
        self.frames: list[tuple[int, list[bytes]]] = []
        self.received: list[bytes] = []
        self.now = 0.0

    def send(self, most: int) -> None:
        """One frame of at most so many."""
        first, entries = self.sender.next_number, []
        for entry in self.sender.old(self.now):
            entries.append(entry)
            if len(entries) >= most:
                break
        while len(entries) < most and self.unsent and self.sender.has_room():
            self.sender.put(self.unsent[0], self.now)
            entries.append(self.unsent.pop(0))
        if entries:
            self.frames.append((first, entries))

    def arrive(self) -> None:
        """The first frame on its way."""
        if self.frames:
            first, entries = self.frames.pop(0)
            known = self.receiver.receive(first, len(entries))
            assert known is not None
            self.received += entries[known:]

    def acknowledge(self) -> None:
        """The receiver's word arrives."""
        assert self.sender.acknowledge(1, self.receiver.expected, self.now)

    def replace(self) -> None:
        """The link breaks with all that is on it, and is made anew."""
        self.frames.clear()
        self.sender.open()


STEPS = st.lists(st.integers(0, 9), max_size=200)


@given(STEPS, st.integers(0, 1000))
def test_all_arrives_once_and_in_order_whatever_links_break(steps: list[int], seed: int) -> None:
    way = Way(seed)
    entries = [bytes([number % 251]) * way.random.randint(1, 40_000) for number in range(60)]
    way.unsent = list(entries)
    for step in [*steps, *[0, 1, 2] * 200]:
        way.now += way.random.random() / 10
        if step in (0, 3, 4):
            way.send(way.random.randint(1, 8))
        elif step in (1, 5, 6):
            way.arrive()
        elif step in (2, 7, 8):
            way.acknowledge()
        else:
            way.replace()
        window = way.sender.window
        assert window.sent - window.acked <= MAX_WINDOW_BYTES + LEAST_WINDOW_BYTES
    assert way.received == entries
    assert not way.sender.is_waited_for


def test_what_an_old_link_had_brought_is_not_sent_again_once_that_is_known() -> None:
    way = Way(0)
    way.unsent = [b"a", b"b", b"c"]
    way.send(3)
    way.arrive()
    way.replace()
    way.acknowledge()
    way.send(3)
    assert way.frames == []
    assert not way.sender.is_waited_for


def test_what_is_missing_is_told() -> None:
    receiver = Arrivals()
    assert receiver.receive(0, 2) == 0
    assert receiver.receive(3, 1) is None
    assert receiver.receive(1, 3) == 1
    assert receiver.expected == 4


def test_an_acknowledgement_of_what_was_never_sent_cannot_be() -> None:
    way = Way(0)
    way.unsent = [b"a"]
    way.send(1)
    assert not way.sender.acknowledge(1, 2, 0.0)
    assert way.sender.acknowledge(1, 1, 0.0)
    assert way.sender.acknowledge(1, 0, 0.0), "late, which is no fault"
    assert way.sender.acked == 1


def test_of_an_older_era_no_acknowledgement_counts() -> None:
    way = Way(0)
    way.unsent = [b"a"]
    way.send(1)
    way.sender.begin(2)
    assert way.sender.acknowledge(1, 1, 0.0)
    assert way.sender.next_number == 0


def test_a_new_era_is_told_from_the_one_that_is_known() -> None:
    receiver = Arrivals()
    assert receiver.begins(5)
    receiver.receive(0, 7)
    assert not receiver.begins(5)
    assert receiver.begins(6)
    assert receiver.expected == 0
