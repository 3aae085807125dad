"""The planted bugs: each changes one function, or one constant, while it is applied.

They are what a tired engineer might write. Whoever adds a guarantee adds the bug that breaks it.
``SEEDS`` are plans known to catch each; ``python -m tests.mutants`` searches for others.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import mesh.engine.liveness as liveness
from mesh.engine.call_plane import CallPlane
from mesh.engine.conditions import Conditions
from mesh.engine.control_lane import ControlLane
from mesh.engine.exchange import Exchange
from mesh.engine.liveness import Liveness
from mesh.engine.rings import Rings
from mesh.engine.roster import Roster
from mesh.engine.session import RequestLane, Session
from mesh.links import Inbox, Outbox
from mesh.links.batches import Batch, BatchQueue
from mesh.membership import State
from patterns.backlog import Backlog
from patterns.groupcast import CastSender
from patterns.groupcast import casts as k
from patterns.groupcast.credit import CreditBook
from patterns.groupcast.demand import Demand
from patterns.groupcast.keyed import KeyLines
from patterns.groupcast.worklist import Worklist
from patterns.rpc import CallOptions, RpcClient, RpcServer
from patterns.rpc.placement import Placement
from patterns.subscription import Subscription

__all__ = ["MUTANTS", "applied"]

Patch = tuple[Any, str, Any]
MUTANTS: dict[str, Callable[[], Patch]] = {}


@contextmanager
def applied(name: str) -> Iterator[None]:
    """While this lasts the bug is in."""
    owner, attribute, value = MUTANTS[name]()
    with patch.object(owner, attribute, value):
        yield


def mutant(make: Callable[[], Patch]) -> Callable[[], Patch]:
    MUTANTS[make.__name__] = make
    return make


# Links.


@mutant
def gap_is_off_by_one() -> Patch:
    good = Inbox.open

    def open(self: Inbox, link: int, next_number: int) -> int | None:
        missed = good(self, link, next_number)
        return missed - 1 if missed else missed

    return Inbox, "open", open


@mutant
def gap_is_not_told() -> Patch:
    return Roster, "gap", lambda self, session, missed: None


@mutant
def numbers_restart_at_a_new_epoch() -> Patch:
    good = Outbox.open

    def open(self: Outbox, link: int, now: float) -> None:
        good(self, link, now)
        if not self.queue.batches:
            self.queue._next_number = 0

    return Outbox, "open", open


@mutant
def dropped_messages_give_their_numbers_back() -> Patch:
    good = Outbox.add

    def add(self: Outbox, batch: Batch) -> None:
        before = self.dropped
        good(self, batch)
        given_back = self.dropped - before
        queue = self.queue
        queue.batches = deque((first - given_back, batch) for first, batch in queue.batches)
        queue._next_number -= given_back

    return Outbox, "add", add


@mutant
def window_is_not_released() -> Patch:
    def consume(self: Inbox, link: int, size: int) -> bool:
        return False

    return Inbox, "consume", consume


@mutant
def window_has_no_bound() -> Patch:
    def ready(self: Outbox, now: float) -> Iterator[Any]:
        while self.link is not None and (taken := self.queue.pop()) is not None:
            self.window.send(taken[1].size, now)
            yield taken

    return Outbox, "ready", ready


@mutant
def queue_has_no_bound() -> Patch:
    return Outbox, "add", lambda self, batch: self.queue.add(batch)


@mutant
def the_last_batch_is_sent_first() -> Patch:
    def pop(self: BatchQueue) -> Any:
        if not self.batches:
            return None
        self.seal()
        first, batch = self.batches.pop()
        self._size -= batch.size
        return first, batch

    return BatchQueue, "pop", pop


# Membership.


@mutant
def a_suspect_never_fails() -> Patch:
    good = Liveness._judge_suspect

    def judge(self: Liveness, session: Session, now: float) -> None:
        if session.links:
            good(self, session, now)

    return Liveness, "_judge_suspect", judge


@mutant
def a_word_is_no_sign_of_life() -> Patch:
    return Liveness, "heard", lambda self, session: None


@mutant
def a_suspect_is_not_dialled_anew() -> Patch:
    return liveness, "RENEW_SUSPECT_AFTER", 1e9


@mutant
def a_delta_is_not_confirmed() -> Patch:
    good = ControlLane._on_delta

    def on_delta(self: ControlLane, session: Session, link: int, fields: list[Any]) -> None:
        said = len(session.outbox.control)
        good(self, session, link, fields)
        del session.outbox.control[said:]

    return ControlLane, "_on_delta", on_delta


@mutant
def a_goodbye_is_ignored() -> Patch:
    def on_goodbye(self: ControlLane, session: Session, link: int, fields: list[Any]) -> None:
        session.control(12)

    return ControlLane, "_on_goodbye", on_goodbye


@mutant
def peers_tell_nothing_of_peers() -> Patch:
    return Exchange, "_tell", lambda self, session, known, is_all: None


@mutant
def questions_are_not_answered() -> Patch:
    return ControlLane, "_on_ping", lambda self, session, link, fields: None


# Keys.


@mutant
def a_ring_leaves_suspects_out() -> Patch:
    good = Rings._present

    def present(self: Rings) -> Iterator[Any]:
        return (
            (session, record)
            for session, record in good(self)
            if session is self._local or session.state is State.ALIVE
        )

    return Rings, "_present", present


@mutant
def a_ring_is_not_made_anew() -> Patch:
    return Rings, "invalidate", lambda self: None


@mutant
def a_key_is_served_by_whoever_is_asked() -> Patch:
    good = Placement.pick

    def pick(self: Placement, method: str, key: bytes, tried: Any = ()) -> Any:
        handle, _ = good(self, method, key, tried)
        return self._providers.pick(method, tried) or handle, 2

    return Placement, "pick", pick


@mutant
def later_casts_of_a_key_overtake() -> Patch:
    good = KeyLines.advance

    def advance(self: KeyLines, line: Any, most: int | None = None) -> None:
        line.waiting._casts = type(line.waiting._casts)(reversed(line.waiting._casts))
        good(self, line, most)

    return KeyLines, "advance", advance


# Calls.


@mutant
def a_cancellation_is_not_sent() -> Patch:
    return CallPlane, "send_cancel", lambda self, target, call_id: None


@mutant
def a_reply_goes_to_the_call_before() -> Patch:
    good = RpcClient.on_replies

    def on_replies(self: RpcClient, sender: Any, entries: Any) -> int:
        changed = [
            [e[0] - 1, *e[1:]] if e[0] - 1 in self._pending and e[1] == 0 else e for e in entries
        ]
        return good(self, sender, changed)

    return RpcClient, "on_replies", on_replies


@mutant
def a_reply_is_given_twice() -> Patch:
    good = RpcClient.on_replies

    def on_replies(self: RpcClient, sender: Any, entries: Any) -> int:
        for entry in entries:
            pending = self._pending.get(entry[0])
            if pending is not None and entry[1] == 0 and not pending.waiter.done():
                pending.waiter.set_result(entry[2])
                other = self._pending.get(entry[0] + 1)
                if other is not None and not other.waiter.done():
                    other.waiter.set_result(entry[2])
        return good(self, sender, entries)

    return RpcClient, "on_replies", on_replies


@mutant
def deadlines_do_not_end_calls() -> Patch:
    return RpcClient, "_on_deadline", lambda self, key: None


@mutant
def handlers_go_on_at_close() -> Patch:
    return RpcServer, "close", lambda self: None


@mutant
def a_line_forgets_its_calls() -> Patch:
    def start_waiting(self: RpcServer, method: Any) -> None:
        self._waiting.pop(method, None)

    return RpcServer, "_start_waiting", start_waiting


# Casts.


@mutant
def redelivery_is_not_marked() -> Patch:
    return CastSender, "_mark", lambda self, cast: None


@mutant
def casts_of_the_dead_are_forgotten() -> Patch:
    def member_gone(self: CastSender, handle: Any) -> None:
        self._runs.flush()
        self._streams.pop(handle, None)
        self.members_changed()

    return CastSender, "member_gone", member_gone


@mutant
def credit_is_granted_twice() -> Patch:
    good = CreditBook.allocate

    def allocate(self: CreditBook, capacity: int) -> Iterator[Any]:
        return good(self, 2 * capacity)

    return CreditBook, "allocate", allocate


@mutant
def credit_is_not_returned() -> Patch:
    return Demand, "give_back", lambda self, account, count, wish: None


@mutant
def what_is_held_is_sent_again() -> Patch:
    good = CastSender.on_held

    def on_held(
        self: CastSender, handle: Any, era: int, since: int, running: Any, done: Any
    ) -> None:
        good(self, handle, era, since, [], done)

    return CastSender, "on_held", on_held


@mutant
def what_was_done_is_not_remembered() -> Patch:
    good = CastSender.on_held

    def on_held(
        self: CastSender, handle: Any, era: int, since: int, running: Any, done: Any
    ) -> None:
        good(self, handle, era, since, running, [])

    return CastSender, "on_held", on_held


@mutant
def keys_of_a_member_run_side_by_side() -> Patch:
    def put(self: Worklist, message: Any) -> None:
        self._waiting.append(message)

    return Worklist, "put", put


# Readers and waits.


@mutant
def a_slow_reader_is_not_told_what_it_missed() -> Patch:
    good = Backlog.drop_excess

    def drop_excess(self: Backlog) -> int:
        dropped = self.dropped
        taken = good(self)
        self.dropped = dropped
        return taken

    return Backlog, "drop_excess", drop_excess


@mutant
def a_reader_gets_the_newest_first() -> Patch:
    good = Subscription.take

    def take(self: Subscription) -> Any:
        messages = good(self)
        return type(messages)(reversed(messages)) if messages else messages

    return Subscription, "take", take


@mutant
def flush_waits_for_ever() -> Patch:
    return Conditions, "flush", lambda self, timeout, waiter: None


@mutant
def a_timer_is_not_cancelled_at_close() -> Patch:
    def close(self: Liveness) -> None:
        """The tick goes on."""

    return Liveness, "close", close


@mutant
def lanes_to_the_dead_stay_open() -> Patch:
    return RequestLane, "close", lambda self: self.queue.clear()


@mutant
def a_call_is_repeated_unasked() -> Patch:
    good = RpcClient.call

    def call(self: RpcClient, method: str, args: Any, kwargs: Any, o: Any, *rest: Any) -> int:
        options = CallOptions(o.timeout, True, o.target, o.wait, key=o.key)
        return good(self, method, args, kwargs, options, *rest)

    return RpcClient, "call", call


@mutant
def the_deadline_is_not_checked_before_the_start() -> Patch:
    good = RpcServer._start

    def start(self: RpcServer, job: Any) -> None:
        job.deadline += 1e6
        good(self, job)

    return RpcServer, "_start", start


@mutant
def a_lost_peer_keeps_its_calls() -> Patch:
    return RpcClient, "on_lost", lambda self, handle, reason, ids=None: None


@mutant
def the_mark_is_lost_at_the_second_death() -> Patch:
    good = k.set_flag

    def set_flag(fields: Any, flag: int) -> bool:
        is_second = len(fields) > 3 and fields[3] & k.FLAG_REDELIVERED
        if is_second and flag == k.FLAG_REDELIVERED:
            fields[3] &= ~k.FLAG_REDELIVERED
            return True
        return good(fields, flag)

    return k, "set_flag", set_flag
