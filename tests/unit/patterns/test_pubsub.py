"""From a subject to nodes, and from a frame to subscriptions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from mesh.testing.clock import ProcessClock, SimClock
from patterns.errors import BadName
from patterns.messages import BROADCAST, PUBLISH, SEND, Message
from patterns.names import group_subject
from patterns.pubsub import PubSub
from patterns.subscription import STALL_AFTER, Subscription
from tests.sim.runner import SimRunner


class Node:
    """A handle."""

    def __init__(self, name: str) -> None:
        self.id = name.encode()
        self.outstanding = 0
        self.peer = name


class World:
    """A ``PubSub`` on virtual time; ``told`` is what it said of the node's interest."""

    def __init__(self) -> None:
        self.clock = SimClock()
        self.runner = SimRunner(ProcessClock(self.clock))
        self.me = Node("me")
        self.told: list[tuple[str, bool]] = []
        self.pubsub = PubSub(
            self,
            self.me,
            lambda *change: self.told.append(change),
            lambda *change: None,
            lambda *change: None,
        )
        self.released: list[int] = []

    def now(self) -> float:
        return self.clock.now()

    def call_later(self, delay: float, callback: Callable[[], None]) -> Any:
        return self.clock.call_later(delay, callback)

    def send(self, kind: int, targets: Sequence[Any], entry: bytes) -> None: ...

    def run(self, seconds: float) -> None:
        until = self.clock.now() + seconds
        while self.clock.step(until):
            pass

    def hear(self, pattern: str, *, echo: bool = True) -> list[Message]:
        heard: list[Message] = []
        self.pubsub.subscribe(
            Subscription(pattern, self.runner, handler=heard.append, inline=True, echo=echo)
        )
        return heard

    def read(self, pattern: str) -> Subscription:
        subscription = Subscription(pattern, self.runner, buffer=5)
        self.pubsub.subscribe(subscription)
        return subscription

    def deliver(
        self, *entries: Any, sender: Node | None = None, kind: int = PUBLISH, missed: int = 0
    ) -> None:
        sender = sender or Node("other")
        self.pubsub.deliver(kind, sender, entries, missed, 100, self.released.append)


def test_an_inline_handler_that_raises_is_logged_and_the_next_message_comes(
    caplog: pytest.LogCaptureFixture,
) -> None:
    world = World()
    heard: list[Message] = []

    def fail(message: Message) -> None:
        heard.append(message)
        raise ValueError("no")

    world.pubsub.subscribe(Subscription("x", world.runner, handler=fail, inline=True))
    world.deliver(["x", 1], ["x", 2])
    assert [message.data for message in heard] == [1, 2]
    assert "the handler of 'x' raised" in caplog.text
    assert world.released == [100]


def test_subjects_with_the_same_audience_have_the_same_route() -> None:
    world = World()
    a, b = Node("a"), Node("b")
    world.pubsub.add_interest(a, ">")
    world.pubsub.add_interest(b, "x.>")
    assert world.pubsub.route("x.1") is world.pubsub.route("x.2")
    assert world.pubsub.route("y") is world.pubsub.route("z")
    world.pubsub.remove_interest(b, "x.>")
    assert world.pubsub.route("x.1") is world.pubsub.route("y")


def test_a_publish_goes_to_each_node_that_wants_it_once() -> None:
    world = World()
    a, b = Node("a"), Node("b")
    world.pubsub.add_interest(a, "x.*")
    world.pubsub.add_interest(a, "x.y")
    world.pubsub.add_interest(b, "z")
    assert world.pubsub.route("x.y") == (a,)
    assert world.pubsub.route("nobody") == ()


def test_a_change_of_interest_changes_the_route_at_once() -> None:
    world = World()
    a = Node("a")
    assert world.pubsub.route("x") == ()
    world.pubsub.add_interest(a, "x")
    assert world.pubsub.route("x") == (a,)
    world.pubsub.remove_interest(a, "x")
    assert world.pubsub.route("x") == ()


@pytest.mark.parametrize("subject", ["", "a..b", "a.*", "_mesh.all", 5, None, ["a"]])
def test_a_bad_subject_is_refused_each_time(subject: Any) -> None:
    world = World()
    for _ in range(2):
        with pytest.raises(BadName):
            world.pubsub.route(subject)


def test_a_group_reaches_its_members_and_no_wildcard() -> None:
    world = World()
    member, snoop = Node("member"), Node("snoop")
    world.pubsub.add_interest(member, group_subject("crew"))
    world.pubsub.add_interest(snoop, ">")
    assert world.pubsub.group_route("crew") == (member,)
    assert world.pubsub.members("nobody") == []
    with pytest.raises(BadName):
        world.pubsub.group_route("not a name")


def test_the_node_wants_a_pattern_from_its_first_to_its_last_subscription() -> None:
    world = World()
    first, second = world.read("x"), world.read("x")
    world.pubsub.unsubscribe(first)
    assert world.told == [("x", True)]
    world.pubsub.unsubscribe(second)
    world.pubsub.unsubscribe(second)
    assert world.told == [("x", True), ("x", False)]
    assert not world.pubsub.wants("x")


def test_the_own_node_is_a_target_while_a_subscription_wants_its_echo() -> None:
    world = World()
    world.hear("x", echo=False)
    assert world.pubsub.route("x") == ()
    world.hear("x", echo=True)
    assert world.pubsub.route("x") == (world.me,)


def test_own_messages_do_not_reach_who_refused_the_echo() -> None:
    world = World()
    quiet, loud = world.hear("x", echo=False), world.hear("x")
    world.deliver(["x", 1], sender=world.me)
    world.deliver(["x", 2])
    assert [m.data for m in quiet] == [2]
    assert [m.data for m in loud] == [1, 2]


def test_each_matching_subscription_gets_a_message_once_and_in_order() -> None:
    world = World()
    one, two, other = world.hear("a.*"), world.hear(">"), world.hear("b")
    world.deliver(["a.x", 1], ["a.y", 2], ["b", 3], ["a.x", 4])
    assert [m.data for m in one] == [1, 2, 4]
    assert [m.data for m in two] == [1, 2, 3, 4]
    assert [m.data for m in other] == [3]


@pytest.mark.parametrize(("kind", "name"), [(PUBLISH, "publish"), (SEND, "send")])
def test_kind_sender_and_headers_arrive(kind: int, name: str) -> None:
    world = World()
    heard = world.hear("x")
    world.deliver(["x", 1, {"h": "v"}], kind=kind)
    assert [(m.kind, m.sender, m.headers) for m in heard] == [(name, "other", {"h": "v"})]


def test_a_broadcast_reaches_the_group_and_nobody_else() -> None:
    world = World()
    crew, all_subjects = world.hear(group_subject("crew")), world.hear(">")
    world.deliver([group_subject("crew"), 1], kind=BROADCAST)
    assert [(m.kind, m.group) for m in crew] == [("broadcast", "crew")]
    assert all_subjects == []


def test_only_the_first_message_after_a_loss_says_how_many_are_missed() -> None:
    world = World()
    heard = world.hear("x")
    world.deliver(["unwanted", 0], ["x", 1], ["x", 2], missed=7)
    assert [m.missed for m in heard] == [7, 0]


@pytest.mark.parametrize(
    "entry", [5, None, [], ["x"], [5, 1], [None, 1], [["x"], 1], {}, "", [b"x", 1]]
)
def test_a_malformed_entry_is_counted_and_the_others_arrive(entry: Any) -> None:
    world = World()
    heard = world.hear("x")
    world.deliver(["x", 1], entry, ["x", 2])
    assert [m.data for m in heard] == [1, 2]
    assert world.pubsub.malformed == 1
    assert world.released == [100]


def test_a_frame_that_nobody_wants_or_of_an_unknown_kind_is_consumed_at_once() -> None:
    world = World()
    world.hear("x")
    world.deliver(["y", 1])
    world.deliver(["x", 1], kind=99)
    assert world.released == [100, 100]


def test_a_frame_is_consumed_when_all_its_readers_are_through_with_it() -> None:
    world = World()
    one, two = world.read("x"), world.read("x")
    world.deliver(["x", 1])
    for subscription in (one, two):
        assert world.released == []
        subscription.take()
        subscription.take()
    assert world.released == [100]


def test_a_reader_that_stalled_is_released_by_time_alone() -> None:
    world = World()
    subscription = world.read("x")
    world.deliver(["x", 1])
    world.run(STALL_AFTER * 0.9)
    assert world.released == []
    world.run(STALL_AFTER)
    assert world.released == [100]
    assert subscription.queued == 1


def test_a_subscription_that_is_closed_in_the_middle_of_a_frame_holds_nothing() -> None:
    world = World()
    reader = world.read("x")

    def stop(message: Message) -> None:
        world.pubsub.unsubscribe(reader)

    world.pubsub.subscribe(Subscription("x", world.runner, handler=stop, inline=True))
    world.deliver(["x", 1], ["x", 2])
    assert world.released == [100]


def test_a_closed_pubsub_ends_its_subscriptions() -> None:
    world = World()
    ended: list[int] = []
    world.read("x").on_end = lambda: ended.append(1)
    world.pubsub.close()
    assert ended == [1]
    assert world.pubsub.is_idle


def test_routes_are_bounded_and_right_whatever_the_number_of_subjects(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("patterns.pubsub.MAX_ROUTES", 10)
    world = World()
    a = Node("a")
    world.pubsub.add_interest(a, "s.*")
    for i in range(100):
        assert world.pubsub.route(f"s.{i}") == (a,)
        assert len(world.pubsub.routes) <= 10
