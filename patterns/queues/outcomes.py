"""Who waits for the end of a job, and what is kept of it.

Rules:

* Who watches a job hears its end once in each group that had it when the watch began: ``done``,
  ``dead`` or ``gone`` (deleted, dropped, expired); and in between how far it is. Who begins in
  the turn in which the put is answered misses nothing.
* The outcome of a job that is done is kept as a note, for as long as was asked for. That of a dead
  one is the job itself, until it is deleted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from patterns.errors import Overloaded
from patterns.queues.group import Group
from patterns.queues.handles import SPARE, Follower, Handles
from patterns.queues.notes import Note
from patterns.queues.outcome import Kind, Outcome, Progress
from patterns.queues.ticket import State, Ticket

if TYPE_CHECKING:
    from patterns.queues.home import Home

__all__ = [
    "FORGOTTEN",
    "MAX_WATCHED",
    "JobStatus",
    "Kind",
    "Outcome",
    "Outcomes",
    "Progress",
    "Watcher",
    "result_note",
]

MAX_WATCHED = 1_000_000
"""Jobs that somebody waits for at a home: some 500 MB."""

FORGOTTEN = "forgotten: it ended, and its outcome was not to be kept (keep_result=)"

Watcher = Callable[[Outcome], None]


@dataclass(frozen=True, slots=True)
class JobStatus:
    """A job in one group. ``state`` is GONE when only its ``outcome`` is left. Times are ms on the
    home's clock; ``due_ms`` is when it is handed out again if it is DELAYED, when its lease ends if
    it is RESERVED, and when it died if it is DEAD; else 0."""

    group: str
    state: State
    attempts: int = 0
    reason: str = ""
    put_ms: int = 0
    due_ms: int = 0
    outcome: Outcome | None = None


class _Watched:
    """One job. ``left`` are the groups in which it has not ended."""

    __slots__ = ("left", "tidy_at", "watchers")

    def __init__(self, left: set[Group]) -> None:
        self.left = left
        self.watchers: list[Watcher] = []
        self.tidy_at = SPARE

    def add(self, watcher: Watcher) -> None:
        """One more. Each put that is the same as this job comes with one, mostly let go of soon."""
        watchers = self.watchers
        if len(watchers) >= self.tidy_at:
            watchers[:] = [w for w in watchers if not (isinstance(w, Follower) and w.is_over)]
            self.tidy_at = 2 * len(watchers) + SPARE
        watchers.append(watcher)


class Outcomes:
    """Of one home's jobs."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self.watched: dict[int, _Watched] = {}
        self.handles = Handles()

    def are_awaited(self) -> bool:
        """Whether anybody waits for any job."""
        return bool(self.watched or self.handles)

    def watch(self, number: int, watcher: Watcher) -> None:
        """See ``Home.watch``."""
        watched = self.watched.get(number)
        if watched is None:
            if len(self.watched) >= MAX_WATCHED:
                raise Overloaded(
                    f"queue {self._home.name}: {MAX_WATCHED} jobs are waited for already: ask for "
                    "their results later, by id (keep_result=)"
                )
            watched = self.watched[number] = _Watched(set(self._home.lines.values()))
        watched.add(watcher)

    def follow(self, number: int, watcher: Watcher) -> None:
        """``watch`` a job that may have ended: then the watcher soon hears how, of each group."""
        self.watch(number, watcher)

        def known(statuses: list[JobStatus]) -> None:
            watched = self.watched.get(number)
            if watched is None or watcher not in watched.watchers:
                return  # it has ended meanwhile, and that was told
            ends = {end.group: end for status in statuses if (end := _end_of(number, status))}
            live = {status.group for status in statuses} - ends.keys()
            over = [group for group in watched.left if group.name not in live]
            watched.left.difference_update(over)
            if not watched.left:
                del self.watched[number]
            for name in sorted(group.name for group in over):
                watcher(ends.get(name) or Outcome("gone", number, name, reason=FORGOTTEN))

        self.status(number, known)

    def unwatch(self, number: int, watcher: Watcher) -> None:
        """See ``Home.unwatch``."""
        watched = self.watched.get(number)
        if watched is not None and watcher in watched.watchers:
            watched.watchers.remove(watcher)
            if not watched.watchers:
                del self.watched[number]

    def tell(self, group: Group, outcome: Outcome) -> None:
        """Who waits for a job, once its line is in order."""
        handle = self.handles.of(outcome.number) if self.handles else None
        if handle is not None:
            handle.tell(outcome)
        watched = self.watched.get(outcome.number)
        if watched is None or group not in watched.left:
            return
        if outcome.kind != "progress":
            watched.left.discard(group)
            if not watched.left:
                del self.watched[outcome.number]
        for watcher in list(watched.watchers):
            watcher(outcome)

    def group_dropped(self, group: Group) -> None:
        """Nothing ends there any more."""
        for number, watched in list(self.watched.items()):
            watched.left.discard(group)
            if not watched.left:
                del self.watched[number]

    def keep(self, group: Group, ticket: Ticket, packed: bytes | None, keep_ms: int) -> None:
        """A job is done, and its outcome is to be known for some time."""
        home = self._home
        note = Note(
            result_note(ticket.number, group.name), ticket.number, home.now_ms() + keep_ms, packed
        )
        home.store.note(home.name, note)

    # What is asked for later.

    def status(self, number: int, done: Callable[[list[JobStatus]], None]) -> None:
        """See ``Home.status``."""
        home = self._home
        found: list[JobStatus] = []
        groups = list(home.lines.values())
        left = len(groups)

        def of(group: Group, ticket: Ticket | None) -> None:
            nonlocal left
            left -= 1
            if ticket is not None:
                found.append(_status(group, ticket))
            if not left:
                # Last, and not meanwhile: of a job that has just ended there is a note now.
                home.store.notes(home.name, result_note(number, ""), len(groups) + 1, kept)

        def kept(notes: Sequence[Note]) -> None:
            now = home.now_ms()
            for note in notes:
                if note.until_ms > now:
                    name = note.name.removeprefix(result_note(number, ""))
                    outcome = Outcome("done", number, name, note.value)
                    found.append(JobStatus(name, State.GONE, outcome=outcome))
            # A job that was kicked after it was done elsewhere is in one group both.
            live = {status.group for status in found if status.outcome is None}
            done([s for s in found if s.outcome is None or s.group not in live])

        for group in groups:
            group.find(number, partial(of, group))

    def outcome(
        self, number: int, group: str | None, done: Callable[[Outcome | None], None]
    ) -> None:
        """See ``Home.outcome``."""

        def answer(statuses: list[JobStatus]) -> None:
            ends = [
                end
                for status in statuses
                if group in (None, status.group) and (end := _end_of(number, status))
            ]
            ends.sort(key=lambda end: end.kind != "done")
            done(ends[0] if ends else None)

        self.status(number, answer)


def _end_of(number: int, status: JobStatus) -> Outcome | None:
    """How it has ended; None: it has not."""
    if status.state is State.DEAD:
        return Outcome("dead", number, status.group, None, status.reason, status.attempts)
    return status.outcome


def _status(group: Group, ticket: Ticket) -> JobStatus:
    state = ticket.state
    due_ms = ticket.lease_until_ms if state is State.RESERVED else ticket.due_ms
    if state is State.READY:
        due_ms = 0
    return JobStatus(group.name, state, ticket.attempts, ticket.reason, ticket.put_ms, due_ms)


def result_note(number: int, group: str) -> str:
    """The name of the note of an outcome."""
    return f"result:{number}:{group}"
