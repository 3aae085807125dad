"""Is a peer alive? The link says so; evidence or time decides when it does not.

* A lost link makes a peer *suspect* at once. A new link with the same id always refutes; the
  peer counts as alive again when it has confirmed our record on it.
* *Hard evidence* fails it in well under a second: a plain connection to its address is refused
  twice (no process listens there), or somebody else answers.
* Without evidence it fails after ``SUSPICION``: a time-out proves nothing, and shorter timers
  multiply false deaths when machines stall.
* A process that greets our probe is alive, and stays suspect: its libzmq answers while its Python
  is blocked, and it cannot link again before that ends.
* A suspect is dialled anew: what killed its connection to us (a move, a sleep) may have killed
  ours to it as well, and on the connecting side nothing notices that.
* A peer that is linked but whose Python answers nothing for ``UNRESPONSIVE_AFTER`` is
  *unresponsive*: kept, avoided, shown.
* One tick serves all timers. A tick that comes late means that *we* were stopped or asleep: then
  nobody is judged by the time that passed, all clocks start again.
* Ticks that come a little late mean that this machine is busy, and who joins here waits for many
  turns of our loop. To dial such peers anew would be more work for all: they get more time.
"""

from __future__ import annotations

from collections.abc import Callable

from mesh.engine.control import PING
from mesh.engine.core import Core
from mesh.engine.lag import Lag
from mesh.engine.ports import ProbeResult
from mesh.engine.session import Session
from mesh.membership import State
from patterns.port import Timer

__all__ = ["SUSPICION", "UNRESPONSIVE_AFTER", "Liveness"]

SUSPICION = 4.0
"""Seconds from suspect to failed without evidence; the floor that simulation showed to be safe."""

UNRESPONSIVE_AFTER = 5.0
MAX_SUSPICION = 60.0
"""Seconds for which signs of life without a link keep a suspect from failing: whoever greets us
there may be somebody else's process."""

JOIN_WITHIN = 5.0
"""Seconds without a word from a peer that answered our dial but has not joined."""

RENEW_SUSPECT_AFTER = 0.5
"""Seconds between new dials of a suspect: by then evidence has failed what was killed, and most of
what lives has linked again by itself."""

RENEW_ASKED_AFTER = 0.5
"""Seconds for an answer of a peer that has connected to us once more; it probably hears nothing."""

RENEW_AFTER = 5.0
"""Seconds between new connections to a peer that is linked and says nothing."""

PING_AFTER = 2.0
"""Seconds of silence from a peer before it is asked for a sign of life."""

ASKS_PER_SECOND = 20
"""Of all peers. With more than forty each is asked less often, or a hundred idle nodes would keep
two cores busy; not so those that owe us an answer. A death shows by the link in any mesh."""

TICK = 0.25
LATE_TICK = 1.0
"""A tick this late was no scheduling jitter: the process was stopped, or the machine asleep."""

PATIENCE = 10
"""Turns of the loop that an answer may take: some of the peer, which is as busy, and of ours."""

LATENESS_KEPT = 0.9
"""Of what a tick was late, for the next one: it is forgotten in some seconds."""

MAX_LATENESS = 3.0
"""What counts of it: a machine that was asleep is not as busy as that was long."""

PROBE_AGAIN = 0.05
PROBE_PAUSE = 0.5
EAGER_PROBES = 4
"""A dying process loses its descriptors one by one: its listener may outlive its links a moment."""

REFUSALS_NEEDED = 2
"""Refused connects that prove a process gone; a second one, for a listener that was restarting."""


class _Suspicion:
    """``since`` is the first loss of a link, ``deadline`` counts from the newest."""

    __slots__ = ("deadline", "is_over", "probes", "refusals", "renewed_at", "since", "timer")

    def __init__(self, now: float, since: float | None = None) -> None:
        self.start(now)
        if since is not None:
            self.since = since
        self.renewed_at = now
        self.probes = 0
        self.refusals = 0
        self.is_over = False
        self.timer: Timer | None = None

    def start(self, now: float) -> None:
        """The time begins, or begins again."""
        self.since = now
        self.deadline = now + SUSPICION

    def saw_life(self, now: float) -> None:
        """A process answers there: silence counts from now, but not for ever."""
        self.deadline = min(now, self.since + MAX_SUSPICION) + SUSPICION

    def stop_probing(self) -> None:
        self.is_over = True
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None


class Liveness:
    """Watches sessions.

    ``change(session, state, reason)`` moves a member and tells everybody; ``renew(session)``
    dials anew a peer that is silent; ``on_pause()`` is called when this process was stopped.
    """

    def __init__(
        self,
        core: Core,
        change: Callable[[Session, State, str], None],
        renew: Callable[[Session], None],
    ) -> None:
        self._core = core
        self._change = change
        self._renew = renew
        self._timer: Timer | None = None
        self._last_tick = core.clock.now()
        self._ask_after = PING_AFTER
        """Seconds of silence from one that owes us nothing."""
        self._lateness = 0.0
        """Seconds that ticks have been late recently, at most."""
        self.lag = Lag()
        self._pings = 0
        self.on_pause: Callable[[], None] = _nothing

    def open(self) -> None:
        self._last_tick = self._core.clock.now()
        self._timer = self._core.clock.call_later(TICK, self._tick)

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for session in self._core.sessions.values():
            self.settle(session)

    def is_paused(self) -> bool:
        """Whether this process was stopped until just now, or its loop is; asked on any thread."""
        return self._core.clock.now() - self._last_tick > TICK + LATE_TICK

    def heard(self, session: Session) -> None:
        """A sign of life from its Python."""
        session.pinged_at = None
        session.has_dialled_again = False
        if session.state is State.UNRESPONSIVE and session.acked_version:
            self._change(session, State.ALIVE, "it answers again")

    def link_lost(self, session: Session, reason: str) -> None:
        """Its link to us is gone: suspect it and look for evidence.

        Time runs from the newest loss: a link that was up meanwhile was a sign of life.
        """
        if session.state in (State.ALIVE, State.UNRESPONSIVE):
            suspicion = session.suspicion = _Suspicion(self._core.clock.now())
            self._change(session, State.SUSPECT, reason)
            if session.suspicion is suspicion:
                self._probe(session, suspicion)
        elif session.suspicion is not None and session.suspicion.is_over:
            now = self._core.clock.now()
            suspicion = session.suspicion = _Suspicion(now, session.suspicion.since)
            self._probe(session, suspicion)

    def forgotten_by(self, session: Session) -> None:
        """The peer says that it does not know us: a new hello brings us back to its mind."""
        self._renew(session)

    def link_up(self, session: Session) -> None:
        """It has a new link: its process lives. It stays suspect until it has caught up."""
        suspicion = session.suspicion
        if suspicion is not None:
            suspicion.stop_probing()
            session.pinged_at = None
            session.last_heard = self._core.clock.now()

    def linked_twice(self, session: Session) -> None:
        """It has connected to us once more: is our connection to it still good?"""
        session.has_dialled_again = True
        if session.pinged_at is None:
            self._ask(session, self._core.clock.now())

    def _ask(self, session: Session, now: float) -> None:
        session.pinged_at = now
        self._pings += 1
        session.control(PING, self._pings)

    def link_back(self, session: Session) -> None:
        """It has a new link, and our record is in force there: whatever we thought, it lives."""
        self.settle(session)
        if session.state in (State.SUSPECT, State.UNRESPONSIVE):
            self._change(session, State.ALIVE, "a new link refuted the suspicion")

    def settle(self, session: Session) -> None:
        """Stop suspecting: it is back, or it has ended."""
        suspicion = session.suspicion
        if suspicion is not None:
            session.suspicion = None
            suspicion.stop_probing()

    def fail(self, session: Session, reason: str, *, may_return: bool = False) -> None:
        """There is evidence that it is gone; or it is only silent, and may return."""
        if session.state in (State.ALIVE, State.UNRESPONSIVE, State.SUSPECT):
            self.settle(session)
            session.may_return = may_return
            self._change(session, State.FAILED, reason)

    def _probe(self, session: Session, suspicion: _Suspicion) -> None:
        suspicion.timer = None
        if suspicion.is_over:
            return

        def done(result: ProbeResult) -> None:
            if suspicion.is_over:
                return
            suspicion.probes += 1
            if result == "alive":
                suspicion.saw_life(self._core.clock.now())
            suspicion.refusals = suspicion.refusals + 1 if result == "refused" else 0
            if suspicion.refusals >= REFUSALS_NEEDED:
                self.fail(session, "its process is gone: nobody listens at its address")
                return
            is_soon = suspicion.refusals or suspicion.probes < EAGER_PROBES
            pause = PROBE_AGAIN if is_soon else PROBE_PAUSE
            suspicion.timer = self._core.clock.call_later(
                pause, lambda: self._probe(session, suspicion)
            )

        self._core.transport.probe(session.address, done)

    def _tick(self) -> None:
        clock = self._core.clock
        now = clock.now()
        late = now - self._last_tick - TICK
        self._last_tick = now
        self.lag.add(late, now)
        self._timer = clock.call_later(TICK, self._tick)
        self._lateness = max(min(late, MAX_LATENESS), self._lateness * LATENESS_KEPT)
        if late > LATE_TICK:
            self._core.count("pauses_noticed")
            self._start_clocks_again(now)
            self.on_pause()
            return
        sessions = list(self._core.sessions.values())
        peers = sum(session.is_joined for session in sessions)
        self._ask_after = max(PING_AFTER, peers / ASKS_PER_SECOND)
        for session in sessions:
            state = session.state
            if state is State.SUSPECT:
                self._judge_suspect(session, now)
            elif state in (State.ALIVE, State.UNRESPONSIVE):
                self._ask_for_life(session, now)
            elif session.dial is not None and now - session.last_heard > self._patient(JOIN_WITHIN):
                self._renew(session)

    def _judge_suspect(self, session: Session, now: float) -> None:
        suspicion = session.suspicion
        if suspicion is None:
            return
        if session.links and now >= suspicion.since + SUSPICION:
            # Its libzmq has connected again, so the process lives; its Python has not caught up.
            self.settle(session)
            self._change(session, State.UNRESPONSIVE, "linked again, but it does not answer")
        elif not session.links and now >= suspicion.deadline:
            self.fail(session, f"silent: no link for {SUSPICION:g} s", may_return=True)
        elif now - suspicion.renewed_at >= RENEW_SUSPECT_AFTER:
            suspicion.renewed_at = now
            self._renew(session)

    def _ask_for_life(self, session: Session, now: float) -> None:
        pinged_at = session.pinged_at
        if pinged_at is None:
            # An unresponsive one leaves that state by an answer, so there must be a question.
            is_unresponsive = session.state is State.UNRESPONSIVE
            ask_after = PING_AFTER if session.outstanding else self._ask_after
            if is_unresponsive or now - session.last_heard > ask_after:
                self._ask(session, now)
        elif session.state is State.UNRESPONSIVE:
            if now - pinged_at > (RENEW_ASKED_AFTER if session.has_dialled_again else RENEW_AFTER):
                session.pinged_at = now
                self._renew(session)
        elif now - pinged_at > UNRESPONSIVE_AFTER - PING_AFTER:
            silence = now - session.last_heard
            self._change(
                session, State.UNRESPONSIVE, f"linked, but nothing heard for {silence:.1f} s"
            )
        elif session.has_dialled_again and now - pinged_at > self._patient(RENEW_ASKED_AFTER):
            self._renew(session)

    def _patient(self, seconds: float) -> float:
        """As long, and longer while this machine is busy."""
        return seconds + PATIENCE * self._lateness

    def _start_clocks_again(self, now: float) -> None:
        for session in self._core.sessions.values():
            session.last_heard = now
            session.pinged_at = None
            if session.suspicion is not None:
                session.suspicion.start(now)


def _nothing() -> None: ...
