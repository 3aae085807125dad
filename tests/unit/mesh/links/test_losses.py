"""Counts by subject of what was dropped: right for every entry that a verb packs, and bounded."""

from __future__ import annotations

from collections import Counter
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from mesh.links.batches import Batch
from mesh.links.losses import MAX_SUBJECTS, Losses
from mesh.wire import frames
from mesh.wire.codec import Codec

subjects = st.text("aö.z", min_size=1, max_size=255).filter(lambda s: len(s.encode()) <= 255)
entries = st.tuples(subjects, st.integers()) | st.tuples(
    subjects, st.just(None), st.just({"trace": "7f"})
)


@given(st.lists(entries, max_size=30))
def test_each_entry_counts_for_its_subject(given: list[tuple[Any, ...]]) -> None:
    given = [entry for entry in given if not isinstance(entry[1], int) or abs(entry[1]) < 2**63]
    codec, losses = Codec(), Losses()
    batches = [Batch(frames.PUBLISH, codec.pack(entry)) for entry in given]
    for batch in batches:
        losses.add_batch(batch)
    assert dict(losses.take()) == Counter(entry[0] for entry in given)
    assert losses.take() == []


def test_subjects_are_bounded_and_all_fit_a_frame() -> None:
    losses = Losses()
    for number in range(2 * MAX_SUBJECTS):
        losses.add(f"{number:0255d}".encode())
        losses.add(b"0" * 255)
    told = losses.take()
    assert len(told) == MAX_SUBJECTS
    assert dict(told)["0" * 255] == 2 * MAX_SUBJECTS + 1
    assert len(Codec().pack((24, told))) < frames.MAX_LINK_FRAME_BYTES - frames.LINK_HEADER_SIZE
