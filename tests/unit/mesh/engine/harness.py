"""One engine part on a simulated network, for tests that look inside."""

from __future__ import annotations

import errno
from random import Random
from typing import Any

from mesh.engine.config import EngineConfig
from mesh.engine.core import Core
from mesh.engine.ports import Bound, ProbeResult
from mesh.engine.session import Session
from mesh.membership import Membership, Record
from mesh.testing.clock import SimClock
from mesh.testing.world import EPOCH

__all__ = ["FakeDial", "FakeTransport", "make_core", "make_record", "run"]


class FakeDial:
    def __init__(self, address: str) -> None:
        self.address = address
        self.owner: Any = None
        self.is_up = True


class FakeTransport:
    """Keeps what it is asked; ``answers`` are the results of probes to come, the last repeats."""

    def __init__(self, clock: SimClock) -> None:
        self._clock = clock
        self.dials: list[FakeDial] = []
        self.sent: list[bytes] = []
        self.probes: list[float] = []
        self.answers: list[ProbeResult] = ["open"]
        self.lacking: str | None = None

    def open(self, events: Any) -> Bound:
        return Bound(("me:1",), 2, 3)

    def identity_of(self, id: bytes) -> None:
        return None

    def dial(self, address: str, hello: bytes, info: bytes) -> FakeDial:
        if self.lacking is not None:
            raise OSError(errno.EMFILE, self.lacking)
        dial = FakeDial(address)
        self.dials.append(dial)
        return dial

    def shortage(self) -> str | None:
        return self.lacking

    def hang_up(self, dial: Any) -> None:
        dial.is_up = False

    finish = hang_up

    def send_link(self, frame: bytes) -> None:
        self.sent.append(frame)

    def open_lane(self, address: str, id: bytes = b"") -> Any:
        raise NotImplementedError

    open_work_lane = open_lane

    def close_lane(self, lane: Any) -> None: ...

    def send_request(self, lane: Any, frame: bytes) -> None: ...

    def send_work(self, lane: Any, frame: bytes) -> bool:
        return False

    def send_reply(self, route: bytes, frame: bytes) -> bool:
        return True

    def probe(self, address: str, done: Any) -> None:
        self.probes.append(self._clock.now())
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        self._clock.call_later(0.001, lambda: done(answer))

    def close(self) -> None: ...

    @property
    def up(self) -> list[str]:
        """The addresses that are dialled now."""
        return [dial.address for dial in self.dials if dial.is_up]


def make_core(mesh: str = "mesh") -> tuple[Core, SimClock, FakeTransport]:
    clock = SimClock()
    transport = FakeTransport(clock)
    config = EngineConfig(id=bytes(16), name="me", mesh=mesh)
    core = Core(config, clock, transport, Random(1), Membership(lambda: EPOCH))
    return core, clock, transport


def make_record(id: bytes, **fields: Any) -> Record:
    return Record.from_wire(
        id,
        {
            "name": "peer",
            "version": 1,
            "services": {"peer": []},
            "interest": [],
            "tags": {},
            "addresses": ["peer:1"],
            "rpc": 2,
            "work": 3,
            **fields,
        },
    )


def joined(core: Core, id: bytes = b"p" * 16, *, link: int = 1) -> Session:
    """A peer that is linked and joined."""
    session = core.sessions[id] = Session(core, id)
    session.record = make_record(id)
    session.member = core.membership.join(session.record, "peer:1")
    session.is_joined = True
    session.links = {1: None}
    session.link = link
    session.acked_version = 1
    session.outbox.open(link, core.clock.now())
    session.last_heard = core.clock.now()
    return session


def run(clock: SimClock, seconds: float) -> None:
    until = clock.now() + seconds
    while clock.step(until):
        pass
