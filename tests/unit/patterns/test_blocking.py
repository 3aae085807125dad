"""Who has a subscription that blocks: told once at the first, once after the last."""

from __future__ import annotations

from typing import Any

from patterns.backlog import Policy
from patterns.blocking import Blocking
from patterns.subscription import Subscription
from tests.unit.patterns.test_subscription import ManualRunner


def make(policy: Policy, **options: Any) -> Subscription:
    return Subscription("a", ManualRunner(), policy=policy, **options)


def test_a_node_blocks_from_its_first_such_subscription_to_the_end_of_its_last() -> None:
    me: Any = object()
    told: list[bool] = []
    blocking = Blocking(me, told.append)
    one, other, silent = make("block"), make("block"), make("block", echo=False)
    for subscription in (make("latest"), silent, one, other, make("block", group="g")):
        blocking.listen(subscription)
    assert (told, me in blocking.nodes) == ([True], True)
    blocking.stop(one)
    assert me in blocking.nodes
    blocking.stop(other)
    assert (told, me in blocking.nodes) == ([True], False), "to itself it does not echo"
    blocking.stop(silent)
    assert told == [True, False]


def test_others_are_what_they_say_they_are() -> None:
    other: Any = object()
    blocking = Blocking(object(), lambda is_blocking: None)  # type: ignore[arg-type]
    blocking.update(other, True)
    assert list(blocking.nodes) == [other]
    blocking.update(other, False)
    blocking.update(other, False)
    assert not blocking.nodes
