"""Groups that hand out nothing, as people want it, and after a restart as well.

A group that was there before hands out nothing until the store has said that it is not paused.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from patterns.queues.group import Group
from patterns.queues.notes import Note

if TYPE_CHECKING:
    from patterns.queues.home import Home

__all__ = ["Pausing"]

_PREFIX = "paused:"


class Pausing:
    """Of one home's groups."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._unknown: dict[str, Group] = {}
        """Those of which the store has not said it as yet, by the name that they had."""

    def begin(self) -> None:
        """Ask for those that are paused."""
        home = self._home
        self._unknown = dict(home.lines)
        for group in home.lines.values():
            group.is_paused = True
        if self._unknown:
            home.store.notes(home.name, _PREFIX, len(self._unknown), self._known)

    def _known(self, notes: Sequence[Note]) -> None:
        paused = {note.name.removeprefix(_PREFIX) for note in notes}
        unknown, self._unknown = self._unknown, {}
        for name, group in unknown.items():
            is_renamed = group.name != name
            if name in paused and is_renamed:
                self._home.store.drop_note(self._home.name, _PREFIX + name)
            if name not in paused or is_renamed:
                self.set(group, name in paused)

    def set(self, group: Group, is_paused: bool) -> None:
        """It hands out nothing, or does."""
        home = self._home
        self._unknown = {n: other for n, other in self._unknown.items() if other is not group}
        if is_paused:
            home.store.note(home.name, Note(_PREFIX + group.name))
        elif group.is_paused:
            home.store.drop_note(home.name, _PREFIX + group.name)
        if group.is_paused and not is_paused:
            group.is_paused = False
            group.on_ready()
        group.is_paused = is_paused

    def renamed(self, group: Group, old: str) -> None:
        """It has another name."""
        if group.is_paused and group not in self._unknown.values():
            self._home.store.drop_note(self._home.name, _PREFIX + old)
            self.set(group, True)

    def dropped(self, group: Group) -> None:
        """It is gone."""
        self._unknown = {n: other for n, other in self._unknown.items() if other is not group}
        self._home.store.drop_note(self._home.name, _PREFIX + group.name)
