"""What happens in one commit: jobs are put in several queues, and perhaps one is done; all of it
has happened, or nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from patterns.errors import ConfigError, MeshError
from patterns.queues.errors import LeaseLost, QueueFull, StoreFailed
from patterns.queues.group import Group
from patterns.queues.jobspec import JobSpec
from patterns.queues.line import Holder
from patterns.queues.notes import Note
from patterns.queues.outcomes import result_note
from patterns.queues.putting import Batch, Load, check_names
from patterns.queues.stores import Store

if TYPE_CHECKING:
    from patterns.queues.home import Home

__all__ = ["Commit", "Puts", "Together"]

Puts = Sequence[tuple["Home", Sequence[JobSpec]]]

Then = Callable[[MeshError | None], None]


class Together:
    """Puts in queues of one store. Names are looked up first; then all is put in one turn.

    ``then`` gets None, or the error: then nothing of it has happened.
    """

    def __init__(self, store: Store, then: Then) -> None:
        self._store = store
        self._then = then
        self._batches: list[Batch] = []
        self._left = 1
        self._has_ended = False

    def begin(self, puts: Puts) -> None:
        """Raises LeaseLost, QueueClosed, ConfigError; nothing has happened then."""
        self._check()
        # Of one queue together: parts of one commit must not wait for each other.
        merged: dict[Home, list[JobSpec]] = {}
        for home, specs in puts:
            if home.store is not self._store:
                raise ConfigError(
                    f"the queue {home.name} has a store of its own: what is put in a transaction "
                    "must be kept in one store, which is that of the job that is done"
                )
            home.check_open()
            check_names(home, specs)
            merged.setdefault(home, []).extend(specs)
        self._left += len(merged)
        for home, specs in merged.items():
            batch = Batch(home, specs, lambda _: self._ready(), self._batch_ended)
            self._batches.append(batch)
        for batch in self._batches:
            batch.look_up()
        self._ready()

    def _check(self) -> None:
        """Raises what stands against it."""

    def _batch_ended(self, outcome: object) -> None:
        if isinstance(outcome, MeshError):
            self._end(outcome)

    def _end(self, error: MeshError | None) -> None:
        if not self._has_ended:
            self._has_ended = True
            for batch in self._batches:
                batch.end(error)
            self._then(error)

    def _ready(self) -> None:
        self._left -= 1
        if self._left or self._has_ended:
            return
        loads: list[Load] = []
        notes: list[tuple[str, Note]] = []
        try:
            self._check()
            for batch in self._batches:
                load, named = batch.load()
                loads.append(load)
                notes += [(batch.home.name, note) for note in named]
        except (LeaseLost, QueueFull) as error:
            for load in loads:
                load.answered(error)
            self._end(error)
            return
        self._write(loads, notes)

    def _write(self, loads: list[Load], notes: list[tuple[str, Note]]) -> None:
        def answered(error: StoreFailed | None) -> None:
            for load in loads:
                load.answered(error)
            self._end(error)

        self._put(loads, notes, answered)

    def _put(
        self,
        loads: list[Load],
        notes: list[tuple[str, Note]],
        answered: Callable[[StoreFailed | None], None],
    ) -> None:
        jobs = [job for load in loads if load.numbers for job in load.jobs]
        if jobs:
            self._store.put(jobs, notes, answered)
        else:
            answered(None)


class Commit(Together):
    """The same, and a job is done. When the store cannot write it, that job is ready again."""

    def __init__(
        self,
        home: Home,
        group: Group,
        holder: Holder,
        number: int,
        packed: bytes | None,
        then: Then,
    ) -> None:
        super().__init__(home.store, then)
        self._home = home
        self._group = group
        self._holder = holder
        self._number = number
        self._packed = packed

    def _check(self) -> None:
        if self._number not in self._holder.held:
            raise LeaseLost(
                f"job {self._number} is not {self._holder.name}'s any more: nothing was put"
            )

    def _write(self, loads: list[Load], notes: list[tuple[str, Note]]) -> None:
        home, group = self._home, self._group
        ticket = group.finish_for_now(self._holder, self._number)
        # With several groups it is found out later anyway who is the last.
        is_only = len(home.lines) == 1
        keep_ms = home.keep(group, ticket, self._packed)
        if is_only:
            home.names.ended(group, ticket, max(keep_ms, home.options.dedup_ms))

        def answered(error: StoreFailed | None) -> None:
            for load in loads:
                load.answered(error)
            if error is None:
                group.free_key(ticket)
                if not is_only:
                    home.names.ended(group, ticket, max(keep_ms, home.options.dedup_ms))
                home.was_done(group, ticket, self._packed)
            else:
                if keep_ms:
                    home.store.drop_note(home.name, result_note(ticket.number, group.name))
                home.names.came_back(ticket)
                group.came_back(ticket)
            self._end(error)

        self._put(loads, notes, answered)
