"""The notes in memory: how many, and how many bytes of results, there are at most."""

from __future__ import annotations

from mesh.stores.memory_notes import MemoryNotes
from patterns.queues.notes import Note
from patterns.queues.ticket import NEVER


def test_results_beyond_so_many_bytes_go_the_first_to_end_first() -> None:
    notes = MemoryNotes(most_bytes=30)
    for number in range(6):
        notes.keep(Note(f"result:{number}:", number, 100 + number, bytes(10)))
    assert [note.number for note in notes.all()] == [3, 4, 5]
    notes.keep(Note("result:5:", 5, 200, bytes(5)))
    notes.drop("result:4:")
    notes.keep(Note("result:3:", 3, NEVER))
    notes.keep(Note("result:7:", 7, 300, bytes(25)))
    assert sorted(note.number for note in notes.all()) == [3, 5, 7]
    notes.sweep(1000)
    assert [note.number for note in notes.all()] == [3]
