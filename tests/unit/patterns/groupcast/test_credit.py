"""The books of a member: promises kept, nobody left out, nothing counted twice."""

from __future__ import annotations

from collections import Counter
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from patterns.groupcast.credit import CreditBook, Share

SENDERS = st.sampled_from("abcde")


class Customer:
    """A sender as it is: what it may still send, and what of it is at the member."""

    def __init__(self) -> None:
        self.available = 0
        self.here = 0
        self.carried = 0
        self.wish = 0
        self.share: int | None = None
        self.granted = 0
        self.returned = 0
        self.is_asked = False

    @property
    def holds(self) -> int:
        return self.available + self.here + self.carried

    def learn(self, share: Share) -> None:
        """A grant: so much in all, in that share."""
        if share.number != self.share:
            self.share, self.granted, self.returned = share.number, 0, 0
        assert share.granted > self.granted, "a grant is told because it is more"
        self.available += share.granted - self.granted
        self.granted = share.granted
        self.is_asked = False


class Book(RuleBasedStateMachine):
    """Five senders at one member whose capacity comes and goes."""

    def __init__(self) -> None:
        super().__init__()
        self.book = CreditBook(count(1))
        self.capacity = 1
        self.customers = {name: Customer() for name in "abcde"}
        self.past: list[tuple[str, int, int]] = []
        """Returns of shares that are no more."""

    @rule(capacity=st.integers(0, 20))
    def change_capacity(self, capacity: int) -> None:
        self.capacity = capacity

    @rule(name=SENDERS, wish=st.integers(0, 25))
    def want(self, name: str, wish: int) -> None:
        self.book.want(name, wish)
        self.customers[name].wish = wish

    @rule()
    def allocate(self) -> None:
        before = {name: customer.holds for name, customer in self.customers.items()}
        granted = []
        for name, share in self.book.allocate(self.capacity):
            granted.append(name)
            self.customers[name].learn(share)
        after = {name: customer.holds for name, customer in self.customers.items()}
        total = sum(after.values())
        if granted:
            assert total <= self.capacity, "never more out than there is, when something is granted"
        for name, customer in self.customers.items():
            assert after[name] >= before[name], "a promise is never broken"
            assert after[name] <= max(before[name], customer.wish), "nor is more than was asked for"
            if total < self.capacity:
                assert after[name] >= customer.wish, "nothing stays free that somebody could use"
        if any(customer.wish and not customer.holds for customer in self.customers.values()):
            for name in granted:
                assert after[name] == 1, "nobody gets a second before all have one"

    @precondition(lambda self: any(c.available for c in self.customers.values()))
    @rule(data=st.data())
    def use(self, data: st.DataObject) -> None:
        customer = self.one_with(data, "available")
        some = data.draw(st.integers(1, customer.available))
        customer.available -= some
        customer.here += some

    @precondition(lambda self: any(c.here for c in self.customers.values()))
    @rule(data=st.data())
    def settle(self, data: st.DataObject) -> None:
        customer = self.one_with(data, "here")
        some = data.draw(st.integers(1, customer.here))
        self.book.settle(self.name_of(customer), True, some)
        customer.here -= some

    @precondition(lambda self: any(c.carried for c in self.customers.values()))
    @rule(data=st.data())
    def settle_older(self, data: st.DataObject) -> None:
        customer = self.one_with(data, "carried")
        self.book.settle(self.name_of(customer), False)
        customer.carried -= 1

    @precondition(lambda self: any(c.available for c in self.customers.values()))
    @rule(data=st.data(), wish=st.integers(0, 10), times=st.integers(1, 2))
    def give_back(self, data: st.DataObject, wish: int, times: int) -> None:
        """Told twice it is the same as once, for it tells the total."""
        customer = self.one_with(data, "available")
        name = self.name_of(customer)
        some = data.draw(st.integers(0, customer.available))
        total = customer.returned + some
        for _ in range(times):
            assert self.book.give_back(name, customer.share or 0, total, wish, customer.here)
        customer.returned = total
        customer.available -= some
        customer.wish = wish
        customer.is_asked = False
        self.past.append((name, customer.share or 0, total))

    @rule(name=SENDERS, excess=st.integers(1, 5))
    def lie(self, name: str, excess: int) -> None:
        """More than it has, or less than it said before: nothing changes."""
        customer = self.customers[name]
        if customer.share is None or name not in self.book.shares:
            return
        before = customer.holds
        if self.book.shares[name].number != customer.share:
            return
        total = customer.returned + customer.available + excess
        assert not self.book.give_back(name, customer.share, total, 9, customer.here)
        if customer.returned:
            total = customer.returned - 1
            assert not self.book.give_back(name, customer.share, total, 9, customer.here)
        assert self.book.shares[name].held == before

    @precondition(lambda self: self.past)
    @rule(data=st.data())
    def return_late(self, data: st.DataObject) -> None:
        """What was said of a share that is no more says nothing of the one that is."""
        name, number, total = data.draw(st.sampled_from(self.past))
        share = self.book.shares.get(name)
        if share is None or share.number != number:
            assert self.book.give_back(name, number, total, 7, self.customers[name].here)

    @rule(name=SENDERS)
    def begin_epoch(self, name: str) -> None:
        customer = self.customers[name]
        customer.carried += customer.here
        customer.here = customer.available = customer.wish = 0
        customer.is_asked = False
        self.book.begin_epoch(name, customer.carried)

    @rule(unused=st.sets(SENDERS))
    def recall(self, unused: set[str]) -> None:
        """Those who hold what they do not use are asked once, while somebody has nothing."""
        somebody_waits = any(c.wish and not c.holds for c in self.customers.values())
        expected = {
            name
            for name, customer in self.customers.items()
            if somebody_waits and name in unused and customer.holds and not customer.is_asked
        }
        asked = [name for name, _ in self.book.recall(lambda name, share: name in unused)]
        assert sorted(asked) == sorted(expected)
        for name in asked:
            self.customers[name].is_asked = True

    def one_with(self, data: st.DataObject, what: str) -> Customer:
        some = [customer for customer in self.customers.values() if getattr(customer, what)]
        return data.draw(st.sampled_from(some))

    def name_of(self, customer: Customer) -> str:
        return next(name for name, one in self.customers.items() if one is customer)

    @invariant()
    def the_book_says_what_is_so(self) -> None:
        for name, customer in self.customers.items():
            share = self.book.shares.get(name)
            assert (share.held if share is not None else 0) == customer.holds


Book.TestCase.settings = settings(max_examples=200, stateful_step_count=60)
TestBook = Book.TestCase


def grants(book: CreditBook, capacity: int) -> dict[str, int]:
    return {name: share.granted for name, share in book.allocate(capacity)}


def test_the_first_gets_what_it_wishes_if_there_is_so_much() -> None:
    book = CreditBook(count())
    book.want("a", 5)
    assert grants(book, 3) == {"a": 3}
    book.want("a", 100)
    assert grants(book, 50) == {"a": 50}
    assert grants(book, 50) == {}


@given(st.integers(1, 12), st.integers(1, 8))
def test_with_more_senders_than_capacity_credit_goes_round_and_starves_nobody(
    senders: int, capacity: int
) -> None:
    book = CreditBook(count())
    names = [f"s{i}" for i in range(senders)]
    for name in names:
        book.want(name, 1000)
    served: Counter[str] = Counter()
    held: list[str] = []
    for _ in range(senders * 20):
        for name, share in book.allocate(capacity):
            held += [name] * (share.held - held.count(name))
        assert len(held) == capacity, "all of it is out, and no more"
        done = held.pop(0)
        served[done] += 1
        book.settle(done, True)
    assert max(served.values()) - min(served[name] for name in names) <= max(2, capacity)


def test_who_waited_longest_is_served_first() -> None:
    book = CreditBook(count())
    for name in "abc":
        book.want(name, 1)
    order = []
    for _ in range(7):
        for name in grants(book, 1):
            order.append(name)
            book.settle(name, True)
    assert "".join(order) == "abcabca"


@pytest.mark.parametrize("wishes", [{"a": 100, "b": 100}, {"a": 2, "b": 100}, {"a": 3, "b": 4}])
def test_capacity_is_divided_by_wish_and_nobody_gets_more_than_it_wished(
    wishes: dict[str, int],
) -> None:
    book = CreditBook(count())
    for name, wish in wishes.items():
        book.want(name, wish)
    got = grants(book, 10)
    fair = {name: min(wish, 5) for name, wish in wishes.items()}
    if wishes == {"a": 2, "b": 100}:
        fair = {"a": 2, "b": 8}
    assert got == fair


def test_a_newcomer_gets_its_share_as_the_others_use_theirs_up() -> None:
    book = CreditBook(count())
    book.want("old", 100)
    grants(book, 10)
    book.want("new", 100)
    assert grants(book, 10) == {}
    for _ in range(5):
        book.settle("old", True)
        grants(book, 10)
    assert (book.shares["old"].held, book.shares["new"].held) == (5, 5)


def test_somebody_who_holds_nothing_makes_the_idle_be_asked_once() -> None:
    book = CreditBook(count())
    book.want("idle", 1)
    grants(book, 1)
    assert list(book.recall(lambda name, share: True)) == []
    book.want("new", 1)
    assert grants(book, 1) == {}
    asked = list(book.recall(lambda name, share: True))
    assert [name for name, _ in asked] == ["idle"]
    assert list(book.recall(lambda name, share: True)) == []
    assert book.give_back("idle", asked[0][1].number, 1, 0, 0)
    assert grants(book, 1) == {"new": 1}


def test_one_who_uses_what_it_holds_is_not_asked() -> None:
    book = CreditBook(count())
    book.want("busy", 1)
    grants(book, 1)
    book.want("new", 1)
    assert list(book.recall(lambda name, share: False)) == []


def test_a_new_share_has_a_number_of_its_own() -> None:
    book = CreditBook(count())
    book.want("a", 1)
    (_, first), *_ = book.allocate(1)
    book.settle("a", True)
    book.want("a", 0)
    assert grants(book, 1) == {}
    assert book.shares == {}
    book.want("a", 1)
    (_, second), *_ = book.allocate(1)
    assert (second.granted, second.number != first.number) == (1, True)


def test_a_sender_that_never_wanted_anything_is_not_remembered() -> None:
    book = CreditBook(count())
    book.want("a", 0)
    book.begin_epoch("a", 0)
    book.settle("a", True)
    assert book.give_back("a", 5, 0, 3, 0)
    assert book.shares == {}
