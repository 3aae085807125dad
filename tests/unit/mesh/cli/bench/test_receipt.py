"""What a receiver makes of what comes: each counted, checked, and of its stage."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.cli import load_options
from mesh.cli.bench.core.failures import MAX_KINDS, OTHERS, Failures
from mesh.cli.bench.core.receipt import MIN_SIZE, Receipt, Stamper
from mesh.cli.bench.part import MAX_SIZE

SIZES = st.integers(MIN_SIZE, 600)


def receipt_of(numbers: list[int], size: int = MIN_SIZE, first: int = 0) -> Receipt:
    receipt, stamper = Receipt(size, first), Stamper(size)
    for now, number in enumerate(numbers, start=1):
        receipt.take(stamper.message(number, 0), now)
    return receipt


@given(SIZES, st.integers(0, 2**64 - 1), st.integers(0, 2**62))
def test_a_message_has_its_size_and_is_taken_as_it_was_sent(size: int, n: int, due: int) -> None:
    data = Stamper(size).message(n, due)
    assert len(data) == size
    receipt = Receipt(size)
    receipt.take(data, due + 5)
    assert (receipt.received, receipt.broken, receipt.numbers) == (1, 0, n)
    assert receipt.latency.greatest == 5


@given(SIZES, st.data())
def test_a_message_that_was_changed_behind_its_stamp_is_broken(size: int, data: object) -> None:
    message = bytearray(Stamper(size).message(1, 2))
    if size > MIN_SIZE:
        place = data.draw(st.integers(MIN_SIZE, size - 1))  # type: ignore[attr-defined]
        message[place] ^= 1
    else:
        message += b"x"
    receipt = Receipt(size)
    receipt.take(bytes(message), 3)
    assert (receipt.received, receipt.broken) == (0, 1)


@pytest.mark.parametrize("data", [None, "x" * MIN_SIZE, b"", b"x" * (MIN_SIZE + 1), [1], {}])
def test_what_is_no_message_is_broken(data: object) -> None:
    receipt = Receipt(MIN_SIZE)
    receipt.take(data, 1)
    assert (receipt.received, receipt.broken) == (0, 1)


def test_the_options_know_the_sizes_that_there_are() -> None:
    assert (load_options.LEAST_SIZE, load_options.MOST_SIZE) == (MIN_SIZE, MAX_SIZE)


def test_order_and_doubles_are_seen() -> None:
    receipt = receipt_of([0, 1, 3, 2, 3, 4])
    assert (receipt.received, receipt.disordered, receipt.numbers) == (6, 2, 13)


def test_what_is_late_from_the_stage_before_is_set_apart() -> None:
    receipt = receipt_of([8, 9, 10, 11], first=10)
    assert (receipt.received, receipt.stragglers, receipt.disordered) == (2, 2, 0)
    assert (receipt.began, receipt.ended) == (3, 4)


@given(st.lists(st.integers(0, 50)), SIZES)
def test_what_was_packed_is_unpacked(numbers: list[int], size: int) -> None:
    receipt = receipt_of(numbers, size)
    again = Receipt.unpacked(receipt.packed())
    assert again.packed() == receipt.packed()
    assert again.seconds == receipt.seconds


@pytest.mark.parametrize("change", [{"received": -1}, {"size": "x"}, {"latency": None}])
def test_what_is_no_receipt_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="no "):
        Receipt.unpacked(Receipt(MIN_SIZE).packed() | change)
    with pytest.raises(ValueError, match="no receipt"):
        Receipt.unpacked(None)


def test_outcomes_are_counted_by_kind_and_their_kinds_are_bounded() -> None:
    failures = Failures()
    for number in range(1000):
        failures.add(f"kind {number}", f"text {number}")
        failures.add("kind 0", "another text")
    assert failures.total == 2000
    assert failures.counts["kind 0"] == 1001
    assert failures.first["kind 0"] == "text 0"
    assert len(failures.counts) == MAX_KINDS + 1
    assert failures.counts[OTHERS] == 1000 - MAX_KINDS
