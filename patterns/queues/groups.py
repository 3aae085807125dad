"""Which groups of workers a queue has at its home, and which of them hand out nothing.

A group that was there before hands out nothing until the store has said that it is not paused, and
which keys are held up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from patterns.errors import BadRequest, Overloaded
from patterns.queues.errors import QueueClosed
from patterns.queues.group import Group
from patterns.queues.jobspec import MAX_GROUPS
from patterns.queues.notes import Note

if TYPE_CHECKING:
    from patterns.queues.home import Home

__all__ = ["Groups"]


class Groups:
    """Of one home: what ``Home.lines`` holds."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._dropping: set[str] = set()
        self._unknown: dict[str, Group] = {}
        """Those of which the store has not said whether they are paused, by their name then."""

    def open(self, names: Iterable[str]) -> None:
        """Those that were there before, and those that there are to be; else the unnamed one."""
        home = self._home
        for name in names:
            group = self._unknown[name] = self._add(name)
            group.is_paused = True
            home.upkeep.begin(group)
        if not self._unknown:
            self._add("")
        for name in home.options.groups or ():
            if name not in home.lines:
                self.make(name)
        if not self._unknown:
            return
        left = 1 + len(self._unknown)
        paused: list[Note] = []

        def answered() -> None:
            nonlocal left
            left -= 1
            if not left:
                self._known(paused)

        def noted(notes: Sequence[Note]) -> None:
            paused.extend(notes)
            answered()

        groups = list(self._unknown.values())
        home.store.notes(home.name, paused_note(""), len(groups), noted)
        for group in groups:
            home.upkeep.hold_keys(group, answered)

    def make(self, name: str) -> Group:
        """See ``Home.group``."""
        home = self._home
        if not name:
            known = ", ".join(sorted(home.lines))
            raise BadRequest(
                f"the workers of queue {home.name} are in groups: say group=, one of {known}"
            )
        declared = home.options.groups
        if declared is not None and name not in declared:
            raise BadRequest(f"queue {home.name} has no group {name!r}: only {', '.join(declared)}")
        if name in self._dropping:
            raise QueueClosed(f"group {name} of queue {home.name} is being deleted: try again")
        if len(home.lines) >= MAX_GROUPS:
            raise Overloaded(f"queue {home.name} has {MAX_GROUPS} groups already: delete some")
        unnamed = home.lines.pop("", None)
        if unnamed is None:
            return self._add(name)
        home.store.rename(home.name, "", name)
        unnamed.name = name
        home.lines[name] = unnamed
        if unnamed.is_paused and unnamed not in self._unknown.values():
            home.store.drop_note(home.name, paused_note(""))
            self._pause(unnamed, True)
        return unnamed

    def _add(self, name: str) -> Group:
        home = self._home
        group = home.lines[name] = Group(
            name,
            home.store.line(home.name, name),
            home.now_ms,
            max_attempts=home.options.max_attempts,
            taken=home.taken,
            ended=home.ended_itself,
        )
        return group

    def drop(self, name: str, done: Callable[[int], None]) -> None:
        """See ``Home.drop_group``."""
        home = self._home
        (group,) = home.people.groups(name)
        if not name:
            raise BadRequest(f"queue {home.name}: the unnamed group stays; empty it instead")
        del home.lines[name]
        group.is_dropped = True
        self._dropping.add(name)
        if not home.lines:
            self._add("")
        self._forget(group)
        home.store.drop_note(home.name, paused_note(name))

        def gone(count: int) -> None:
            self._dropping.discard(name)
            home.outcomes.group_dropped(group)
            if not home.is_closed:
                home.store.drop(home.name, name)
            group.on_dropped()
            done(count)

        home.upkeep.drop(group, gone)

    # Paused ones.

    def pause(self, name: str | None, is_paused: bool) -> None:
        """See ``Home.pause``, ``Home.resume``."""
        for group in self._home.people.groups(name):
            self._forget(group)
            self._pause(group, is_paused)

    def _known(self, notes: Sequence[Note]) -> None:
        paused = {note.name for note in notes}
        unknown, self._unknown = self._unknown, {}
        for name, group in unknown.items():
            note = paused_note(name)
            if note in paused and group.name != name:
                self._home.store.drop_note(self._home.name, note)
            self._pause(group, note in paused)

    def _pause(self, group: Group, is_paused: bool) -> None:
        home = self._home
        note = paused_note(group.name)
        was_paused, group.is_paused = group.is_paused, is_paused
        if is_paused:
            home.store.note(home.name, Note(note))
        elif was_paused:
            home.store.drop_note(home.name, note)
            group.on_ready()

    def _forget(self, group: Group) -> None:
        self._unknown = {name: one for name, one in self._unknown.items() if one is not group}


def paused_note(group: str) -> str:
    """The name of the note of a group that hands out nothing."""
    return f"paused:{group}"
