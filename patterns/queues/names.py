"""Jobs that have a name, ``id`` or ``unique``, so that another of that name is the same job.

Rules:

* ``unique:`` is a job's note while it is queued or runs in any group, ``id:`` while there is
  anything of it, and for the window after its end (or for as long as its outcome is kept). A dead
  job has no unique name any more, and keeps its id until another takes it.
* With one group, a note ends in the commit in which the job does. With several the last one to end
  finds by the store that it is the last; a crash between leaves a note of a job that is gone. So a
  note says nothing that is not checked: its job must be there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from patterns.queues.group import Group
from patterns.queues.notes import Note
from patterns.queues.ticket import NEVER, Extra, State, Ticket

if TYPE_CHECKING:
    from patterns.queues.home import Home
    from patterns.queues.putting import Batch

__all__ = ["Names", "Same", "id_note", "unique_note"]

Pair = tuple[Group, Ticket]


class Same:
    """What another job of some names is the same as: ``job``, number and id. None: it is new.

    ``stale`` is the number of a dead job whose id it takes over.
    """

    __slots__ = ("job", "stale")

    def __init__(self, job: tuple[int, str] | None, stale: int | None = None) -> None:
        self.job = job
        self.stale = stale


class Names:
    """Of one home's jobs."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self.coming: dict[str, Batch] = {}
        """Notes of jobs that are being put."""

    # They end.

    def ended(self, group: Group, ticket: Ticket, stay_ms: int | None) -> None:
        """A job with a name has ended in one group: its id stays for so long, None: as long as it
        is dead."""
        extra = ticket.extra
        if extra is None or (extra.id is None and extra.unique is None):
            return
        number = ticket.number
        others = [other for other in self._home.lines.values() if other is not group]
        if not others:
            if stay_ms is None:
                _free_unique(ticket)
            self._end(extra, number, stay_ms)
            return

        def found(pairs: list[Pair]) -> None:
            if stay_ms is None:
                pairs = [*pairs, (group, ticket)]
            # One that died may have been kicked already.
            if any(ticket.state is not State.DEAD for _, ticket in pairs):
                return
            for dead_in, dead in pairs:
                if _free_unique(dead):
                    dead_in.reading.mark(dead)
            self._end_checked(extra, number, None if pairs else stay_ms)

        self._find_in(others, number, found)

    def _end(self, extra: Extra, number: int, stay_ms: int | None) -> None:
        home = self._home
        if extra.unique is not None:
            home.store.drop_note(home.name, unique_note(extra.unique))
        if extra.id is not None and stay_ms is not None:
            name = id_note(extra.id)
            if stay_ms:
                home.store.note(home.name, Note(name, number, home.now_ms() + stay_ms))
            else:
                home.store.drop_note(home.name, name)

    def _end_checked(self, extra: Extra, number: int, stay_ms: int | None) -> None:
        """The same, later: another may have its name by now."""
        home = self._home

        def check(name: str, part: Extra) -> None:
            def answer(note: Note | None) -> None:
                if note is None or note.number != number:
                    return
                batch = self.coming.get(name)
                if batch is None:
                    self._end(part, number, stay_ms)
                else:
                    # It may be replaced already by the note of a job that is being put.
                    batch.after.append(lambda: check(name, part))

            home.store.find_note(home.name, name, answer)

        if extra.unique is not None:
            check(unique_note(extra.unique), Extra(unique=extra.unique))
        if extra.id is not None:
            check(id_note(extra.id), Extra(id=extra.id))

    def came_back(self, ticket: Ticket) -> None:
        """A job that was to end in this turn has not."""
        for note in self.notes(ticket.extra, ticket.number):
            self._home.store.note(self._home.name, note)

    # They begin.

    def notes(self, extra: Extra | None, number: int) -> list[Note]:
        """Those of a job that is queued."""
        notes: list[Note] = []
        if extra is not None:
            if extra.id is not None:
                notes.append(Note(id_note(extra.id), number))
            if extra.unique is not None:
                notes.append(Note(unique_note(extra.unique), number))
        return notes

    def same(self, id: str | None, unique: str | None, done: Callable[[Same], None]) -> None:
        """Which job another of these names is the same as."""
        _Look(self._home, id, unique, done).begin()

    def take_over(self, number: int) -> None:
        """The id of a dead job is another's: it has none any more, and does not end it."""

        def found(pairs: list[Pair]) -> None:
            for group, ticket in pairs:
                extra = ticket.extra
                if extra is not None:
                    ticket.extra = Extra(None, extra.unique, extra.keep_ms, extra.headers)
                    group.reading.mark(ticket)

        self.find_all(number, found)

    def find_all(self, number: int, done: Callable[[list[Pair]], None]) -> None:
        """Look for a job in all groups."""
        self._find_in(list(self._home.lines.values()), number, done)

    def _find_in(
        self, groups: Sequence[Group], number: int, done: Callable[[list[Pair]], None]
    ) -> None:
        """Look for a job in several groups; ``done`` gets it as it is then in all of them."""
        found: list[Pair] = []
        left = len(groups)
        changed = [group.reading.ask() for group in groups]

        def of(group: Group, ticket: Ticket | None) -> None:
            nonlocal left
            left -= 1
            if ticket is not None:
                found.append((group, ticket))
            if left:
                return
            for asked, numbers in zip(groups, changed, strict=True):
                asked.reading.answered(numbers)
            if any(number in numbers for numbers in changed):
                self._find_in(groups, number, done)
            else:
                done([(in_group, in_group.known(ticket)) for in_group, ticket in found])

        for group in groups:
            group.reading.store.find(number, partial(of, group))


class _Look:
    """For a job that another is the same as: by its id, then by its unique name."""

    def __init__(
        self,
        home: Home,
        id: str | None,
        unique: str | None,
        done: Callable[[Same], None],
    ) -> None:
        self._stale: int | None = None
        self._home = home
        self._id = id
        self._unique = unique
        self._done = done

    def begin(self) -> None:
        if self._id is None:
            self._look_for_unique()
            return
        number = self._home.own_number(self._id)
        if number is None:
            self._look_for_id(self._id)
        else:
            self._home.names.find_all(number, partial(self._of_own, number, self._id))

    def _of_own(self, number: int, id: str, pairs: list[Pair]) -> None:
        if any(ticket.extra is None or ticket.extra.id is None for _, ticket in pairs):
            # It has no note, but this is what it is called.
            self._done(Same((number, id)))
        else:
            self._look_for_id(id)

    def _look_for_id(self, id: str) -> None:
        self._home.store.find_note(self._home.name, id_note(id), self._by_id)

    def _by_id(self, note: Note | None) -> None:
        if note is None or note.until_ms <= self._home.now_ms():
            self._look_for_unique()
        elif note.until_ms != NEVER:
            self._done(Same((note.number, str(self._id))))
        else:
            self._home.names.find_all(note.number, partial(self._of_id, note.number))

    def _of_id(self, number: int, pairs: list[Pair]) -> None:
        home = self._home
        dead = [ticket.due_ms for _, ticket in pairs if ticket.state is State.DEAD]
        is_live = len(dead) < len(pairs)
        if is_live or (dead and max(dead) + home.options.dedup_ms > home.now_ms()):
            self._done(Same((number, str(self._id))))
            return
        self._stale = number if pairs else None
        self._look_for_unique()

    def _look_for_unique(self) -> None:
        if self._unique is None:
            self._done(Same(None, self._stale))
        else:
            self._home.store.find_note(self._home.name, unique_note(self._unique), self._by_unique)

    def _by_unique(self, note: Note | None) -> None:
        if note is None:
            self._done(Same(None, self._stale))
        else:
            self._home.names.find_all(note.number, partial(self._of_unique, note.number))

    def _of_unique(self, number: int, pairs: list[Pair]) -> None:
        live = [ticket for _, ticket in pairs if ticket.state is not State.DEAD]
        if live:
            extra = live[0].extra
            given = None if extra is None else extra.id
            self._done(Same((number, given or self._home.id_of(number))))
        else:
            self._done(Same(None, self._stale))


def _free_unique(ticket: Ticket) -> bool:
    """A dead job has no unique name any more: when it is kicked, another may have that."""
    extra = ticket.extra
    if extra is None or extra.unique is None:
        return False
    ticket.extra = Extra(extra.id, None, extra.keep_ms, extra.headers)
    return True


def id_note(id: str) -> str:
    """The name of the note of a job's id."""
    return f"id:{id}"


def unique_note(unique: str) -> str:
    """The name of the note of a job's unique name."""
    return f"unique:{unique}"
