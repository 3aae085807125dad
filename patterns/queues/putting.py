"""How jobs get into a queue: one commit for those that are put together, all or nothing.

Rules:

* A job is in its lines when the store says that it is safe, and not before.
* What has no names of its own is put at once. Names are looked up first; of one name one job is put
  at a time, and others of it that come meanwhile have its outcome, its error included.
* What is under way counts as being in the queue.

Surprise: who waits for another's job has put nothing as yet, and no job waits for one that came
later: so they cannot wait for each other in a circle.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import repeat
from typing import TYPE_CHECKING, Any

from patterns.errors import MeshError
from patterns.queues.errors import QueueClosed, QueueFull, StoreFailed
from patterns.queues.group import Group
from patterns.queues.jobspec import Alike, JobSpec, NewPuts, Put
from patterns.queues.names import Claim, id_note, unique_note
from patterns.queues.notes import Note
from patterns.queues.stores import LineStore, Store, Then
from patterns.queues.ticket import NEVER, Extra, Ticket

if TYPE_CHECKING:
    from patterns.queues.home import Home

__all__ = ["Batch", "Load", "PutThen", "Putting"]

PutThen = Callable[[Sequence[Put] | MeshError], None]


class Load:
    """Jobs of one queue on their way to its store. What is there of them counts from now on."""

    __slots__ = ("_home", "due_ms", "jobs", "lines", "numbers")

    def __init__(self, home: Home, specs: Sequence[JobSpec], numbers: range | None = None) -> None:
        self._home = home
        self.numbers = reserve(home.store, len(specs)) if numbers is None else numbers
        home.under_way += len(self.numbers)
        self.due_ms = NEVER
        """When the first of those that are delayed is due."""
        tickets = self._tickets(specs)
        self.lines: list[tuple[Group, list[Ticket]]] = []
        self.jobs: list[tuple[LineStore, list[Ticket]]] = []
        """As the store takes them."""
        for group in home.lines.values():
            mine = [_twin(ticket) for ticket in tickets] if self.lines else tickets
            self.lines.append((group, mine))
            self.jobs.append((group.reading.store, mine))

    def _tickets(self, specs: Sequence[JobSpec]) -> list[Ticket]:
        now = self._home.now_ms()
        if type(specs) is Alike:
            # Called from C: this is the hot path.
            same = map(repeat, self._rest(specs.like, now))
            return list(map(Ticket, self.numbers, specs.bodies, repeat(now), *same))
        return [
            Ticket(number, spec.body, now, *self._rest(spec, now))
            for number, spec in zip(self.numbers, specs, strict=True)
        ]

    def _rest(self, spec: JobSpec, now: int) -> tuple[Any, ...]:
        """What a ticket is made of, behind the time when it was put; nothing if all is usual."""
        home = self._home
        if spec.is_usual and home.options.ttl_ms is None:
            return ()
        due_ms, expires_ms, extra = 0, NEVER, None
        if spec.delay_ms > 0:
            due_ms = now + spec.delay_ms
            self.due_ms = min(self.due_ms, due_ms)
        ttl_ms = home.options.ttl_ms if spec.ttl_ms is None else spec.ttl_ms
        if ttl_ms is not None:
            expires_ms = now + ttl_ms
            home.upkeep.is_expiring = True
        if spec.has_extra:
            keep_ms = spec.keep_result_ms
            if keep_ms is None:
                keep_ms = home.options.keep_ms
            extra = Extra(spec.id, spec.unique, keep_ms, spec.headers)
        return spec.priority, due_ms, expires_ms, spec.key, 0, "", extra

    def answered(self, error: MeshError | None) -> None:
        """They are safe, and in their lines; or nothing of them is there."""
        home, count = self._home, len(self.numbers)
        home.under_way -= count
        if error is not None:
            return
        home.counters.put += count
        for group, tickets in self.lines:
            if group.is_dropped:
                home.upkeep.drop_late(group, tickets)
            else:
                group.put_many(tickets)
        if self.due_ms != NEVER:
            home.come_again(self.due_ms)
        if home.options.max_length is not None:
            home.upkeep.trim()
        if home.on_event is not None:
            for number in self.numbers:
                home.on_event("put", "", number, "")


def reserve(store: Store, count: int) -> range:
    """The next numbers, which are given to nobody else."""
    last = store.last_number
    store.last_number = last + count
    return range(last + 1, last + 1 + count)


def _twin(ticket: Ticket) -> Ticket:
    """The same job in the line of another group."""
    return Ticket(
        ticket.number,
        ticket.body,
        ticket.put_ms,
        priority=ticket.priority,
        due_ms=ticket.due_ms,
        expires_ms=ticket.expires_ms,
        key=ticket.key,
        extra=ticket.extra,
    )


class Putting:
    """Into one home's queue."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self.batches: set[Batch] = set()
        """Those that wait for what the store says of their names."""

    def put(self, specs: Sequence[JobSpec], then: PutThen) -> None:
        """See ``Home.put``."""
        home = self._home
        home.check_open()
        if _are_named(specs):
            Batch(home, specs, lambda batch: self._put_batch(batch, then), then).look_up()
            return
        if home.options.max_length is not None:
            home.check_room(len(specs))
        load = Load(home, specs)

        def answered(error: StoreFailed | None) -> None:
            load.answered(error)
            then(NewPuts(home.store.id, load.numbers) if error is None else error)

        home.store.put(load.jobs, (), answered)

    def put_reserved(self, specs: Alike, numbers: range, then: Then) -> None:
        """See ``Home.put_reserved``."""
        load = Load(self._home, specs, numbers)

        def answered(error: StoreFailed | None) -> None:
            load.answered(error)
            then(error)

        self._home.store.put(load.jobs, (), answered)

    def _put_batch(self, batch: Batch, then: PutThen) -> None:
        try:
            load, notes = batch.load()
        except QueueFull as error:
            batch.end(error)
            return

        def answered(error: StoreFailed | None) -> None:
            load.answered(error)
            batch.end(error)

        if load.numbers:
            home = self._home
            home.store.put(load.jobs, [(home.name, note) for note in notes], answered)
        else:
            batch.end(None)

    def close(self) -> None:
        """What has not gone to the store will not."""
        for batch in list(self.batches):
            batch.end(QueueClosed(f"queue {self._home.name} is closed: nothing was put"))


class Batch:
    """Jobs that are put together, some of which have names.

    ``ready(batch)`` is called when it is known which are new: then ``load`` is what is to be put,
    and ``end`` tells everybody what has become of it. A batch may end before that, with an error.
    """

    def __init__(
        self,
        home: Home,
        specs: Sequence[JobSpec],
        ready: Callable[[Batch], None],
        then: PutThen,
    ) -> None:
        self.home = home
        self._specs = specs
        self._ready = ready
        self._then = then
        self._puts: list[Put | None] = [None] * len(specs)
        """None: it is new, or the same as one of this batch."""
        self._twins: list[tuple[int, int]] = []
        """Which of this batch is the same as which one of it."""
        self._claims: list[Claim] = []
        self._left = 1
        self._has_ended = False

    def look_up(self) -> None:
        """Find out which are new."""
        self.home.putting.batches.add(self)
        coming = self.home.names.coming
        own: dict[Claim, None] = {}
        asked: list[tuple[Claim, JobSpec]] = []
        for index, spec in enumerate(self._specs):
            names = _names_of(spec)
            other = next((coming[name] for name in names if name in coming), None)
            if other is None:
                if names:
                    claim = Claim(names, index)
                    own[claim] = None
                    coming.update(dict.fromkeys(names, claim))
                    asked.append((claim, spec))
            elif other in own:
                self._twins.append((index, other.index))
            else:
                self._left += 1
                other.waiting.append(partial(self._joined, index))
        self._claims = list(own)
        self._left += len(asked)
        for claim, spec in asked:
            self.home.names.same(spec.id, spec.unique, partial(self._looked_up, claim))
        self._answered()

    def _looked_up(self, claim: Claim, same: tuple[int, str] | None) -> None:
        if same is not None and not self._has_ended:
            put = Put(same[0], same[1], False)
            self._puts[claim.index] = put
            self._claims.remove(claim)
            self._release(claim, put)
        self._answered()

    def _joined(self, index: int, put: Put | MeshError) -> None:
        if isinstance(put, MeshError):
            self.end(put)
        else:
            self._puts[index] = put._replace(is_new=False)
        self._answered()

    def _answered(self) -> None:
        self._left -= 1
        if not self._left and not self._has_ended:
            self.home.putting.batches.discard(self)
            self._ready(self)

    def load(self) -> tuple[Load, list[Note]]:
        """What is new, with notes of its names. Raises QueueFull."""
        home = self.home
        twins = {index for index, _ in self._twins}
        fresh = [i for i, put in enumerate(self._puts) if put is None and i not in twins]
        home.check_room(len(fresh))
        load = Load(home, [self._specs[index] for index in fresh])
        notes: list[Note] = []
        for index, number in zip(fresh, load.numbers, strict=True):
            spec = self._specs[index]
            self._puts[index] = Put(number, spec.id or home.id_of(number))
            notes += [Note(name, number) for name in _names_of(spec)]
        return load, notes

    def end(self, error: MeshError | None) -> None:
        """It is put, or nothing of it is; the first time counts."""
        if self._has_ended:
            return
        self._has_ended = True
        self.home.putting.batches.discard(self)
        outcome: list[Put] = []
        if error is None:
            for index, first in self._twins:
                put = self._puts[first]
                self._puts[index] = None if put is None else put._replace(is_new=False)
            outcome = [put for put in self._puts if put is not None]
        for claim in self._claims:
            self._release(claim, error or self._puts[claim.index])
        self._then(error or outcome)

    def _release(self, claim: Claim, put: Put | MeshError | None) -> None:
        coming = self.home.names.coming
        for name in claim.names:
            del coming[name]
        waiting, claim.waiting = claim.waiting, []
        for waiter in waiting:
            if put is not None:
                waiter(put)


def _are_named(specs: Sequence[JobSpec]) -> bool:
    if type(specs) is Alike:
        return specs.like.is_named
    return any(spec.is_named for spec in specs)


def _names_of(spec: JobSpec) -> list[str]:
    names = []
    if spec.id is not None:
        names.append(id_note(spec.id))
    if spec.unique is not None:
        names.append(unique_note(spec.unique))
    return names
