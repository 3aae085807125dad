"""What holds for a dialer whatever is hinted, answered, refused, lost and moved, in any order."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from mesh.engine.dialer import DIALS_PER_SECOND, MAX_ADDRESSES, Dialer
from mesh.engine.targets import ATTEMPTS, Target, Why
from tests.unit.mesh.engine.harness import FakeDial, make_core, run

IDS = st.integers(1, 5).map(lambda n: n.to_bytes(16, "big"))
ADDRESSES = st.lists(st.integers(0, 39).map(lambda n: f"a{n}:1"), min_size=1, max_size=20)
PATIENCE = 150.0
"""Seconds after which whatever is hinted to nobody, and is no failed member, was given up."""


class DialerLaws(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.core, self.clock, self.transport = make_core()
        self.linked: dict[bytes, FakeDial] = {}
        self.dialer = Dialer(self.core, lambda id: id in self.linked)
        self.dialer.open(["a0:1"], 2)
        dial = self.transport.dial
        self.is_short_of_descriptors = False

        def try_to_dial(address: str, hello: bytes, info: bytes) -> FakeDial:
            if self.is_short_of_descriptors:
                raise OSError("no descriptor")
            return dial(address, hello, info)

        self.transport.dial = try_to_dial  # type: ignore[method-assign]

    @property
    def targets(self) -> list[Target]:
        return list(self.dialer._targets.values())

    @property
    def dials(self) -> list[FakeDial]:
        """Those that nobody has answered."""
        return [d for d in self.transport.dials if d.is_up and isinstance(d.owner, Target)]

    @rule(id=st.none() | IDS, addresses=ADDRESSES, why=st.sampled_from(Why))
    def hint(self, id: bytes | None, addresses: list[str], why: Why) -> None:
        self.dialer.hint(id, addresses, why)

    @rule(seconds=st.sampled_from([0.0, 0.01, 0.1, 0.3, 1.0, 2.0, 10.0, 30.0]))
    def wait(self, seconds: float) -> None:
        run(self.clock, seconds)

    @precondition(lambda self: self.dials)
    @rule(data=st.data(), id=IDS, is_stale=st.booleans())
    def answer(self, data: st.DataObject, id: bytes, is_stale: bool) -> None:
        dial = data.draw(st.sampled_from(self.dials))
        self.dialer.answered(dial, id)
        if is_stale:
            dial.owner = None
            self.transport.hang_up(dial)
            return
        if (older := self.linked.get(id)) is not None:
            self.transport.hang_up(older)
        self.linked[id] = dial
        dial.owner = self

    @precondition(lambda self: self.dials)
    @rule(data=st.data(), is_own=st.booleans())
    def refuse(self, data: st.DataObject, is_own: bool) -> None:
        dial = data.draw(st.sampled_from(self.dials))
        if is_own:
            self.dialer.reached_self(dial)
        else:
            self.dialer.refused(dial, "no", "go away")

    @precondition(lambda self: self.linked)
    @rule(data=st.data(), is_failed=st.booleans())
    def lose(self, data: st.DataObject, is_failed: bool) -> None:
        id = data.draw(st.sampled_from(sorted(self.linked)))
        dial = self.linked.pop(id)
        self.transport.hang_up(dial)
        if not is_failed:
            self.dialer.drop(id)
            return
        self.dialer.forget_address(dial.address)
        self.dialer.hint(id, [dial.address], Why.REDIAL)
        targets = [target for target in self.targets if target.id == id]
        for target in targets:
            assert target.why is Why.REDIAL, "a failed member is redialled for a day"

    @rule(address=st.integers(0, 3))
    def move(self, address: int) -> None:
        self.dialer.open([f"a{address}:1"], 2)

    @rule()
    def hurry(self) -> None:
        self.dialer.hurry()

    @rule(is_short=st.booleans())
    def run_out(self, is_short: bool) -> None:
        self.is_short_of_descriptors = is_short

    @rule()
    def calm_down(self) -> None:
        """Without another word only failed members are left, and nothing else is dialled."""
        run(self.clock, PATIENCE)
        assert all(ATTEMPTS[target.why] is None for target in self.targets)

    @invariant()
    def nothing_is_stuck(self) -> None:
        for target in self.targets:
            assert target.is_queued or target.dials or target.timer is not None, target.addresses
            assert not target.untried or target.is_queued or target.timer is not None
            assert len(target.dials) == len(target.silence)
        if any(target.is_queued for target in self.targets):
            assert self.dialer._pace_timer is not None

    @invariant()
    def what_is_dialled_is_what_is_up(self) -> None:
        dialled = [d.address for target in self.targets for d in target.dials]
        assert len(dialled) == len(set(dialled)), "an address is dialled once at a time"
        assert set(dialled) == self.dialer._dialled
        answered = [dial.address for dial in self.linked.values()]
        assert sorted(self.transport.up) == sorted(dialled + answered)

    @invariant()
    def what_is_kept_is_bounded(self) -> None:
        second_hand = [t for t in self.targets if t.why is not Why.FIRST_HAND]
        assert len(self.dialer._second_hand) == len(second_hand)
        for target in self.targets:
            assert 0 < len(target.addresses) <= MAX_ADDRESSES
            assert len(target.untried) <= MAX_ADDRESSES
        queued = (*self.dialer._urgent, *self.dialer._queue)
        assert len(queued) == len(set(queued))

    @invariant()
    def the_pace_is_kept(self) -> None:
        assert len(self.transport.dials) <= 1 + self.clock.now() * DIALS_PER_SECOND + 1

    def teardown(self) -> None:
        self.dialer.close()
        run(self.clock, 1.0)
        assert sorted(self.transport.up) == sorted(d.address for d in self.linked.values())


TestDialerLaws = DialerLaws.TestCase
TestDialerLaws.settings = settings(max_examples=30, stateful_step_count=30, deadline=None)
