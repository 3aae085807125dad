"""The policies of a subscription: who gives way, and who is held."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from patterns.backlog import STALLED_BYTES, Policy
from patterns.errors import ConfigError
from patterns.messages import BroadcastMessage, Message
from patterns.portions import Hold
from patterns.subscription import MAX_LAG, Subscription
from tests.unit.patterns.test_subscription import ManualRunner, ignore


def give(
    subscription: Subscription, *messages: tuple[str, Any], now: float = 0.0, size: int = 1
) -> list[int]:
    """One frame; the list gets its size when it is consumed."""
    released: list[int] = []
    subscription.fresh = [Message(subject, data, {}, None) for subject, data in messages]
    subscription.accept(Hold(size, 1, released.append), now)
    return released


def take_all(subscription: Subscription) -> list[tuple[str | None, Any]]:
    taken: list[tuple[str | None, Any]] = []
    while (messages := subscription.take()) is not None:
        taken += [(m.subject, m.data) for m in messages]
    return taken


def make(policy: Policy, buffer: int = 100, **options: Any) -> Subscription:
    return Subscription(">", ManualRunner(), policy=policy, buffer=buffer, **options)


@pytest.mark.parametrize("policy", ["newest", "", None, 1, ["block"]])
def test_a_policy_that_there_is_not_is_a_config_error(policy: Any) -> None:
    with pytest.raises(ConfigError, match="'drop_oldest', 'latest', 'block'"):
        make(policy)


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.booleans()), max_size=60), st.integers(1, 5))
def test_latest_keeps_the_newest_of_each_subject_and_counts_the_rest(
    steps: list[tuple[str, bool]], buffer: int
) -> None:
    subscription = make("latest", buffer)
    taken: list[tuple[str | None, int]] = []
    newest: dict[str, int] = {}
    for number, (subject, takes) in enumerate(steps):
        assert give(subscription, (subject, number), now=float(number)) == [1], "it holds nobody"
        newest[subject] = number
        assert subscription.queued <= buffer
        if takes and (messages := subscription.take()) is not None:
            assert len(messages) == 1
            assert messages[0].data == newest[messages[0].subject or ""]
            taken.append((messages[0].subject, messages[0].data))
    left = subscription.queued
    rest = take_all(subscription)
    assert len(rest) == left
    assert all(newest[subject or ""] == number for subject, number in rest)
    assert subscription.missed == len(steps) - len(taken) - len(rest)
    for subject in "abcd":
        numbers = [number for s, number in (*taken, *rest) if s == subject]
        assert numbers == sorted(numbers)


def test_with_latest_a_subject_that_changes_all_the_time_has_its_turn() -> None:
    subscription = make("latest")
    give(subscription, ("hot", 0), ("a", 0), ("b", 0))
    turns = []
    for number in range(1, 7):
        give(subscription, ("hot", number), ("a", number), ("b", number))
        messages = subscription.take()
        assert messages is not None
        turns.append(messages[0].subject)
    assert turns == ["hot", "a", "b", "hot", "a", "b"]


def test_with_latest_a_busy_handler_gets_the_newest_next() -> None:
    runner = ManualRunner()
    subscription = Subscription(">", runner, handler=ignore, policy="latest")
    for number in range(10):
        give(subscription, ("a", number))
    runner.end_next()
    runner.end_next()
    assert runner.handled == [0, 9]
    assert (subscription.missed, runner.jobs) == (8, [])


def test_with_latest_large_messages_are_bounded_in_bytes() -> None:
    subscription = make("latest", buffer=10_000)
    large = bytes(STALLED_BYTES // 10)
    for number in range(30):
        give(subscription, (f"s{number}", large))
    assert subscription.queued == 9
    assert subscription.missed == 21


def test_latest_counts_all_broadcasts_to_a_group_as_one_subject() -> None:
    subscription = make("latest")
    for number in range(3):
        subscription.fresh = [BroadcastMessage("_mesh.g.workers", number, {}, None)]
        subscription.accept(None, 0.0)
    messages = subscription.take()
    assert messages is not None
    assert [m.data for m in messages] == [2]
    assert subscription.missed == 2


def test_block_never_counts_as_stalled_and_drops_nothing() -> None:
    subscription = make("block", buffer=1)
    held = [give(subscription, ("a", n), now=n * MAX_LAG) for n in range(10)]
    subscription.release_if_stalled(100 * MAX_LAG)
    assert held == [[]] * 10, "it holds its senders for as long as it takes"
    assert subscription.holds_window()
    assert take_all(subscription) == [("a", n) for n in range(10)]
    assert held == [[1]] * 10
    assert subscription.missed == 0


def test_a_blocking_subscription_that_is_closed_holds_nobody() -> None:
    subscription = make("block")
    held = give(subscription, ("a", 1))
    subscription.close()
    assert held == [1]


def test_in_a_queue_group_block_means_nothing() -> None:
    assert make("block").holds_publishers
    assert not make("block", group="billing").holds_publishers
    assert not make("drop_oldest").holds_publishers
