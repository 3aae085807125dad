"""How jobs get into a queue: one commit for those that are put together, all or nothing.

Rules:

* A job is in its lines when the store says that it is safe, and not before.
* What has no names of its own is put at once. Names are looked up first; of one name one job is put
  at a time, and others of it that come meanwhile have its outcome, its error included.
* What is under way counts as being in the queue.

Surprise: who waits for another's names holds none of its own: so they cannot wait for each other
in a circle.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import repeat
from typing import TYPE_CHECKING, Any

from patterns.errors import BadName, MeshError
from patterns.queues.errors import QueueClosed, QueueFull, StoreFailed
from patterns.queues.group import Group
from patterns.queues.jobspec import Alike, JobSpec, NewPuts, Put
from patterns.queues.names import Same, id_note, unique_note
from patterns.queues.notes import Note
from patterns.queues.stores import LineStore, Store, Then
from patterns.queues.ticket import NEVER, Extra, Ticket

if TYPE_CHECKING:
    from patterns.queues.home import Home

__all__ = ["Batch", "Load", "PutThen", "Putting", "check_names"]

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
        """Those that are under way and have names."""

    def put(self, specs: Sequence[JobSpec], then: PutThen) -> None:
        """See ``Home.put``."""
        home = self._home
        home.check_open()
        if _are_named(specs):
            check_names(home, specs)
            Batch(home, specs, self._put_batch, then).look_up()
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

    def _put_batch(self, batch: Batch) -> None:
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
        """What waits for names is not put."""
        for batch in [batch for batch in self.batches if not batch.is_loaded]:
            batch.end(QueueClosed(f"queue {self._home.name} is closed: nothing was put"))


class Batch:
    """Jobs that are put together, some of which have names.

    ``ready()`` is called when it is known which are new: then ``load`` is what is to be put, and
    ``end`` tells everybody what has become of it. It may end before that, with an error.
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
        self._names: dict[str, None] = {}
        for spec in specs:
            self._names.update(dict.fromkeys(_names_of(spec)))
        self._same: dict[int, Same] = {}
        """What was found for those with names."""
        self._known: dict[str, Put] = {}
        """What others have put that this one waited for."""
        self._waiting: list[Batch] = []
        """Others that have one of its names."""
        self.after: list[Callable[[], None]] = []
        """What is to be looked at again when it has ended."""
        self._left = 0
        self._puts: list[Put] = []
        self._has_ended = False
        self.is_loaded = False
        """Whether it is on its way to the store."""
        home.putting.batches.add(self)

    def look_up(self) -> None:
        """Find out which are new, once nobody else puts jobs of these names."""
        coming = self.home.names.coming
        other = next((coming[name] for name in self._names if name in coming), None)
        if other is not None:
            other._waiting.append(self)
            return
        coming.update(dict.fromkeys(self._names, self))
        self._left = 1
        for index, spec in enumerate(self._specs):
            if spec.is_named:
                names = _names_of(spec)
                known = self._known.get(names[0])
                if known is not None:
                    self._same[index] = Same((known.number, known.id))
                else:
                    self._left += 1
                    self.home.names.same(spec.id, spec.unique, partial(self._looked_up, index))
        self._answered()

    def _looked_up(self, index: int, same: Same) -> None:
        self._same[index] = same
        self._answered()

    def _answered(self) -> None:
        self._left -= 1
        if not self._left and not self._has_ended:
            self._ready(self)

    def load(self) -> tuple[Load, list[Note]]:
        """What is new, with notes of its names. Raises QueueFull."""
        home = self.home
        fresh: dict[str, int] = {}
        """Names of those that are new, and their place among these."""
        new: list[int] = []
        places: list[int] = []
        """Of each its place among those that are new; -1: it is the same as one that was there."""
        for index, spec in enumerate(self._specs):
            place = self._place(index, spec, fresh)
            if place is None:
                place = len(new)
                new.append(index)
                fresh.update(dict.fromkeys(_names_of(spec), place))
            places.append(place)
        home.check_room(len(new))
        for index in new:
            same = self._same.get(index)
            if same is not None and same.stale is not None:
                home.names.take_over(same.stale)
        load = Load(home, [self._specs[index] for index in new])
        self.is_loaded = True
        notes = [Note(name, load.numbers[place]) for name, place in fresh.items()]
        for index, place in enumerate(places):
            if place < 0:
                number, id = self._same[index].job or (0, "")
                self._puts.append(Put(number, id, False))
            else:
                number = load.numbers[place]
                id = self._specs[new[place]].id or home.id_of(number)
                self._puts.append(Put(number, id, new[place] == index))
        return load, notes

    def _place(self, index: int, spec: JobSpec, fresh: dict[str, int]) -> int | None:
        """See ``places``; None: it is new."""
        if not spec.is_named:
            return None
        if spec.id is not None and id_note(spec.id) in fresh:
            return fresh[id_note(spec.id)]
        if self._same[index].job is not None:
            return -1
        return None if spec.unique is None else fresh.get(unique_note(spec.unique))

    def end(self, error: MeshError | None) -> None:
        """It is put, or nothing of it is; the first time counts."""
        if self._has_ended:
            return
        self._has_ended = True
        self.home.putting.batches.discard(self)
        coming = self.home.names.coming
        for name in self._names:
            if coming.get(name) is self:
                del coming[name]
        known = {} if error is not None else self._put_names()
        self._then(error or self._puts)
        waiting, self._waiting = self._waiting, []
        for other in waiting:
            if error is not None:
                other.end(error)
            elif not other._has_ended:
                other._known |= known
                other.look_up()
        after, self.after = self.after, []
        for look in after:
            look()

    def _put_names(self) -> dict[str, Put]:
        """Names of which it is certain whose they are now."""
        known: dict[str, Put] = {}
        for put, spec in zip(self._puts, self._specs, strict=True):
            names = _names_of(spec)
            if put.is_new or len(names) == 1:
                known.update(dict.fromkeys(names, put))
        return known


def check_names(home: Home, specs: Sequence[JobSpec]) -> None:
    """Raises BadName for one that no store can keep, or that a job without a name will have."""
    for spec in specs:
        number = None if spec.id is None else home.own_number(spec.id)
        if number is not None and number > home.store.last_number:
            raise BadName(
                f"id {spec.id!r} is what this store will call a job that is given no id: give "
                "another, which does not begin with the name of the store"
            )
        for name in (spec.id, spec.unique):
            try:
                (name or "").encode()
            except UnicodeEncodeError:
                raise BadName(f"{name!r}: the name of a job is text without surrogates") from None


def _are_named(specs: Sequence[JobSpec]) -> bool:
    if type(specs) is Alike:
        return specs.like.is_named
    return any(spec.is_named for spec in specs)


def _names_of(spec: JobSpec) -> list[str]:
    """Names of its notes; the one that counts first at the front."""
    names = []
    if spec.id is not None:
        names.append(id_note(spec.id))
    if spec.unique is not None:
        names.append(unique_note(spec.unique))
    return names
