"""``Home``: one queue at the node that keeps its jobs.

Rules:

* A job is put once, and is in the line of each group of workers that there is then. The unnamed
  group is there until the first named one takes over all that is in it.
* What one thing that happens to a job changes, its state, its notes, its outcome, is marked in one
  turn: it is one commit.
* Nothing here waits: what the store has to be asked for is answered by a callback, on the same
  thread. All times are ms on ``now_ms``, the home's clock.

Surprise: ``put`` may answer before it returns (in memory), or in a later turn. ``QueueFull`` is
raised at once for jobs without names (``id``, ``unique``), and answered for those with: they may be
the same as others, and then there is room for them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from patterns.errors import MeshError
from patterns.port import Clock, Timer
from patterns.queues.checks import MAX_NUMBER
from patterns.queues.commits import Commit
from patterns.queues.errors import LeaseLost, QueueClosed, QueueFull
from patterns.queues.figures import Counters, QueueStats, Rates, gather
from patterns.queues.group import Group
from patterns.queues.groups import Groups
from patterns.queues.jobspec import HomeOptions, JobSpec, default_id
from patterns.queues.line import Ending, Holder
from patterns.queues.names import Names, id_note
from patterns.queues.notes import Note
from patterns.queues.outcomes import JobStatus, Outcome, Outcomes, Progress, Watcher
from patterns.queues.people import People
from patterns.queues.putting import PutThen, Putting
from patterns.queues.stores import Store
from patterns.queues.ticket import NEVER, Ticket
from patterns.queues.upkeep import Upkeep

__all__ = ["Home", "OnEvent"]

TICK_MS = 1_000
"""Between looks for what has expired."""

FORGET_MS = 60_000
"""Between looks for notes whose time is over; until then they only take room."""

LOADING_MS = 50
"""Until the line is asked again when the first of its delayed jobs is being read."""

OnEvent = Callable[[str, str, int, str], None]


class Home:
    """See the rules. ``open`` it, once the store is open and started; ``close`` it before that.

    ``offset_ms`` the wall clock's lead before this one
    ``lines``     the groups, by name
    ``people``    what people do to jobs: ``peek``, ``kick``, ``delete``, ``edit``, ``empty``...
    ``on_event``  called with what happened (``put``, ``taken``, ``done``, ``retry``, ``dead``,
                  ``expired``, ``dropped``), the group, the number of the job, and a detail;
                  None while nobody wants to know, which costs least. A put has no group
    """

    def __init__(
        self, name: str, store: Store, clock: Clock, options: HomeOptions, *, offset_ms: int = 0
    ) -> None:
        self.name = name
        self.store = store
        self.options = options
        self.offset_ms = offset_ms
        self.lines: dict[str, Group] = {}
        self.counters = Counters()
        self.rates = Rates(self.counters, 0)
        self.on_event: OnEvent | None = None
        self.is_draining = False
        self.is_closed = False
        self.under_way = 0
        """Jobs that are being put."""
        self._clock = clock
        self._timer: Timer | None = None
        self._timer_at = NEVER
        self._tick_at = self._forget_at = 0
        self.names = Names(self)
        self.putting = Putting(self)
        self.outcomes = Outcomes(self)
        self.upkeep = Upkeep(self)
        self.people = People(self)
        self._groups = Groups(self)

    # Life.

    def open(self, groups: Iterable[str] = ()) -> None:
        """Begin, with the groups that ``store.open()`` gave for this queue.

        They hand out nothing until the store has said which of them are paused.
        """
        now = self.now_ms()
        self.rates = Rates(self.counters, now)
        self._tick_at, self._forget_at = now + TICK_MS, now + FORGET_MS
        self._groups.open(groups)
        self._advance()

    def close(self) -> None:
        """End: no timer is left, and what is not on its way to the store is not put (QueueClosed).

        The lines stay as they are. Idempotent.
        """
        self.is_closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.putting.close()

    def now_ms(self) -> int:
        """The home's clock."""
        return round(self._clock.now() * 1000)

    def id_of(self, number: int) -> str:
        """The id of a job that was given none."""
        return default_id(self.store.id, number)

    def check_open(self) -> None:
        """Raises QueueClosed when it takes no jobs."""
        if self.is_closed:
            raise QueueClosed(f"queue {self.name} is closed: nothing was put")
        if self.is_draining:
            raise QueueClosed(
                f"queue {self.name} is being drained: it takes no jobs. Put them elsewhere, or end "
                f"it (meshctl queue drain --undo {self.name})"
            )

    def check_room(self, count: int) -> None:
        """Raises QueueFull when there is no room for so many more."""
        most = self.options.max_length
        if most is None or self.options.overflow != "reject":
            return
        length = max(group.length for group in self.lines.values()) + self.under_way
        if count and length + count > most:
            raise QueueFull(
                f"queue {self.name} has {length} jobs, and room for {most}: {count} more were not "
                "put. Try again later, or have more workers"
            )

    # Groups.

    def group(self, name: str) -> Group:
        """The group of that name; it is made if there is none.

        The first named one takes over the unnamed one: its jobs, those that its workers have
        included, and these go on with them. A later one gets what is put from then on. Raises
        BadRequest for the unnamed one when there are named ones, Overloaded for too many,
        QueueClosed for one that is being deleted.
        """
        group = self.lines.get(name)
        return self._groups.make(name) if group is None else group

    def drop_group(self, name: str, done: Callable[[int], None]) -> None:
        """Delete a group with all its jobs; ``done`` gets how many these were.

        It takes nothing more at once; its workers lose what they have. After the last one the
        unnamed group is there again. Raises BadRequest for one that there is not, or the unnamed.
        """
        self._groups.drop(name, done)

    # Jobs come.

    def put(self, specs: Sequence[JobSpec], then: PutThen) -> None:
        """Put jobs together, all or none; ``then`` gets a ``Put`` for each, or the error.

        Raises QueueClosed and, for jobs without names, QueueFull; then nothing has happened and
        ``then`` is not called. See ``patterns.queues.putting``.
        """
        self.putting.put(specs, then)

    # Workers.

    def taken(self, group: Group, holder: Holder, tickets: Sequence[Ticket]) -> None:
        """They have just been taken: ``Group.take`` says so."""
        self.come_again(self.now_ms() + holder.lease_ms)
        if self.on_event is not None:
            for ticket in tickets:
                self.on_event("taken", group.name, ticket.number, holder.name)

    def finish(
        self,
        group: Group,
        holder: Holder,
        numbers: Sequence[int],
        results: Mapping[int, bytes] | None = None,
    ) -> list[int]:
        """These are done, with packed results of some; returns those that the holder had lost."""
        outcomes = self.outcomes
        done, lost = group.end_many(holder, numbers)
        self.counters.done += len(done)
        if not (self.options.keep_ms or outcomes.watched or self.on_event is not None):
            # Most jobs have no names, and nobody waits for them.
            awaited = set(outcomes.handles.among(numbers)) if outcomes.handles else ()
            done = [t for t in done if t.extra is not None or t.number in awaited]
        for ticket in done:
            packed = results.get(ticket.number) if results else None
            keep_ms = self.keep(group, ticket, packed)
            self.names.ended(group, ticket, max(keep_ms, self.options.dedup_ms))
            self._tell_done(group, ticket, packed)
        return lost

    def keep(self, group: Group, ticket: Ticket, packed: bytes | None) -> int:
        """A job is done: for how many ms its outcome is kept."""
        extra = ticket.extra
        keep_ms = self.options.keep_ms if extra is None else extra.keep_ms
        if keep_ms:
            self.outcomes.keep(group, ticket, packed, keep_ms)
        return keep_ms

    def was_done(self, group: Group, ticket: Ticket, packed: bytes | None) -> None:
        """A job has ended in a commit of its own."""
        self.counters.done += 1
        self._tell_done(group, ticket, packed)

    def _tell_done(self, group: Group, ticket: Ticket, packed: bytes | None) -> None:
        number = ticket.number
        if self.outcomes.are_awaited():
            outcome = Outcome("done", number, group.name, packed, "", ticket.attempts)
            self.outcomes.tell(group, outcome)
        if self.on_event is not None:
            self.on_event("done", group.name, number, "")

    def retry(self, group: Group, holder: Holder, number: int, delay_ms: int, reason: str) -> None:
        """It is to be tried again after so long. Raises LeaseLost."""
        ticket = group.give_back(holder, number, delay_ms / 1000, reason)
        self.counters.retried += 1
        if ticket.due_ms:
            self.come_again(ticket.due_ms)
        if self.on_event is not None:
            self.on_event("retry", group.name, number, reason)

    def bury(self, group: Group, holder: Holder, number: int, reason: str) -> None:
        """It is given up, and kept for people. Raises LeaseLost."""
        self._died(group, group.bury(holder, number, reason))

    def progress(self, group: Group, holder: Holder, number: int, progress: Progress) -> None:
        """Who watches hears how far it is. Raises LeaseLost."""
        if number not in holder.held:
            raise LeaseLost(f"job {number} is not {holder.name}'s any more")
        if self.outcomes.are_awaited():
            self.outcomes.tell(group, Outcome("progress", number, group.name, progress=progress))

    def commit(
        self,
        group: Group,
        holder: Holder,
        number: int,
        packed: bytes | None,
        puts: Sequence[tuple[Home, Sequence[JobSpec]]],
        then: Callable[[MeshError | None], None],
    ) -> None:
        """A job is done and others are put, in queues of the same store, in one commit.

        ``then`` gets None, or the error: then nothing of it has happened, and after StoreFailed the
        job is not the holder's any more, but ready. Raises LeaseLost, QueueClosed, ConfigError.
        """
        Commit(self, group, holder, number, packed, then).begin(puts)

    # What happens by itself.

    def ended_itself(self, group: Group, ticket: Ticket, ending: Ending) -> None:
        """Something happened to a job that nobody asked for: its line says so."""
        if ending == "lease":
            self.counters.leases_lost += 1
            if self.on_event is not None:
                self.on_event("retry", group.name, ticket.number, ticket.reason)
        elif ending == "dead":
            self._died(group, ticket)
        else:
            self.expired(group, ticket)

    def _died(self, group: Group, ticket: Ticket) -> None:
        number, reason = ticket.number, ticket.reason
        ticket.due_ms = self.now_ms()
        self.counters.dead += 1
        self.names.ended(group, ticket, None)
        self.outcomes.tell(
            group, Outcome("dead", number, group.name, None, reason, ticket.attempts)
        )
        if self.on_event is not None:
            self.on_event("dead", group.name, number, reason)

    def expired(self, group: Group, ticket: Ticket) -> None:
        """A job was of no use any more, and is gone from its line."""
        self.counters.expired += 1
        self._gone(group, ticket, "expired", self.options.dedup_ms)

    def remove(self, group: Group, ticket: Ticket, reason: str) -> None:
        """A job goes, whatever its state: ``deleted`` or ``dropped``. Its id may be used again."""
        group.delete(ticket)
        self.counters.dropped += 1
        self._gone(group, ticket, reason, 0)

    def _gone(self, group: Group, ticket: Ticket, reason: str, stay_ms: int) -> None:
        number = ticket.number
        self.names.ended(group, ticket, stay_ms)
        self.outcomes.tell(
            group, Outcome("gone", number, group.name, None, reason, ticket.attempts)
        )
        if self.on_event is not None:
            event = "expired" if reason == "expired" else "dropped"
            self.on_event(event, group.name, number, reason)

    # Outcomes.

    def watch(self, number: int, watcher: Watcher) -> None:
        """Hear what becomes of a job: see ``patterns.queues.outcomes``. Raises Overloaded."""
        self.outcomes.watch(number, watcher)

    def unwatch(self, number: int, watcher: Watcher) -> None:
        """Hear no more of it; harmless when it has ended."""
        self.outcomes.unwatch(number, watcher)

    def status(self, number: int, done: Callable[[list[JobStatus]], None]) -> None:
        """What is known of a job, in each group; ``done`` gets nothing for one that is gone and of
        which nothing is kept."""
        self.outcomes.status(number, done)

    def outcome(
        self, number: int, group: str | None, done: Callable[[Outcome | None], None]
    ) -> None:
        """How a job has ended in a group; with None in any, and a result before a death. ``done``
        gets None when it has not, or nothing is kept of it: ``status`` tells which."""
        self.outcomes.outcome(number, group, done)

    def number_of(self, id: str, done: Callable[[int | None], None]) -> None:
        """The job of that id; None when none is known."""
        store_id, _, digits = id.rpartition("-")
        if store_id == self.store.id and digits.isascii() and digits.isdigit():
            number = int(digits)
            done(number if number <= MAX_NUMBER else None)  # what no store can look for
            return

        def found(note: Note | None) -> None:
            is_known = note is not None and note.until_ms > self.now_ms()
            done(note.number if note is not None and is_known else None)

        self.store.find_note(self.name, id_note(id), found)

    # The queue as a whole.

    def stats(self, done: Callable[[QueueStats], None]) -> None:
        """What people are told of it."""
        gather(self, done)

    def pause(self, group: str | None = None) -> None:
        """Hand out nothing, in one group or in all there are; this lasts through a restart.

        What workers have they may finish. Raises BadRequest.
        """
        self._groups.pause(group, True)

    def resume(self, group: str | None = None) -> None:
        """The opposite."""
        self._groups.pause(group, False)

    def drain(self) -> None:
        """Take no more jobs, and hand out those there are. Not after a restart: it is for one."""
        self.is_draining = True

    def undrain(self) -> None:
        """The opposite."""
        self.is_draining = False

    def hold(self) -> None:
        """Hand out no more, for the home is about to end. What workers have they may finish; after
        a restart all is as it was."""
        for group in self.lines.values():
            group.is_paused = True

    # Time.

    def come_again(self, at_ms: int) -> None:
        """Something is to be done then."""
        if at_ms < self._timer_at and not self.is_closed:
            if self._timer is not None:
                self._timer.cancel()
            self._timer_at = at_ms
            delay = max(0.0, at_ms / 1000 - self._clock.now())
            self._timer = self._clock.call_later(delay, self._advance)

    def _advance(self) -> None:
        self._timer = None
        self._timer_at = NEVER
        now = self.now_ms()
        next_at = NEVER
        for group in [*self.lines.values()]:
            next_at = min(next_at, group.advance())
            if group.delayed.count and group.delayed.first() is None:
                next_at = min(next_at, now + LOADING_MS)
        if now >= self._tick_at:
            self._tick(now)
        self.come_again(max(min(next_at, self._tick_at), now + 1))

    def _tick(self, now: int) -> None:
        self._tick_at = now + TICK_MS
        self.rates.sample(now)
        self.upkeep.sweep()
        if now >= self._forget_at:
            self._forget_at = now + FORGET_MS
            self.store.sweep(now)
