"""What is in flight: as a dictionary by number, whatever lands in whatever order."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from patterns.groupcast.accounts import Account, Cast, Stream
from patterns.groupcast.flight import RUN_ENTRIES, Flight
from tests.unit.patterns.groupcast.port import CREW, Node

Step = tuple[str, int, int]
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["run", "other run", "cast", "land"]),
        st.integers(0, 60),
        st.integers(1, 20),
    ),
    max_size=40,
)


def account() -> Account:
    return Account(CREW, Stream(Node("m"), True), 1.0)


@given(STEPS)
def test_what_lands_is_what_is_in_flight_of_these_numbers(steps: list[Step]) -> None:
    flight, accounts = Flight(), {"run": account(), "other run": account(), "cast": account()}
    model: dict[int, tuple[str, bytes]] = {}
    number = 0
    for kind, start, count in steps:
        if kind == "land":
            plain, casts = flight.land(start, count)
            entries = [entry for _, landed in plain for entry in landed]
            due = [model.pop(n) for n in range(start, start + count) if n in model]
            assert entries == [entry for owner, entry in due if owner != "cast"]
            assert [c.entry for c in casts] == [entry for owner, entry in due if owner == "cast"]
            for owner, _ in due:
                assert accounts[owner].in_flight >= 0
            continue
        fresh = [b"%d" % n for n in range(number, number + count)]
        accounts[kind].in_flight += count
        if kind == "cast":
            for n, entry in enumerate(fresh, number):
                flight.casts[n] = Cast(entry, CREW, n, accounts[kind])
        else:
            flight.add(number, fresh, accounts[kind])
        model.update((n, (kind, entry)) for n, entry in enumerate(fresh, number))
        number += count
    assert sorted(flight.numbers()) == sorted(model)
    assert len(flight) == len(model)
    assert bool(flight) is bool(model)
    for owner, made in accounts.items():
        assert made.in_flight == sum(1 for name, _ in model.values() if name == owner)


def test_runs_of_one_account_grow_together_up_to_their_limit() -> None:
    flight, member = Flight(), account()
    for first in range(0, 3 * RUN_ENTRIES, 64):
        flight.add(first, [b"x"] * 64, member)
    assert len(flight.runs) == 3


def test_one_that_never_lands_keeps_one_run_and_no_other_entry() -> None:
    flight, member = Flight(), account()
    for first in range(0, 100 * RUN_ENTRIES, 64):
        flight.add(first, [b"x"] * 64, member)
    flight.land(0, 5)
    flight.land(6, 100 * RUN_ENTRIES)
    assert list(flight.numbers()) == [5]
    assert len(flight.runs) == 1
    assert len(flight.runs[0].entries) <= RUN_ENTRIES
