"""The flight recorder keeps the last spans, and tells traces of them."""

from __future__ import annotations

from datetime import UTC, datetime
from random import Random

import pytest

from mesh.engine.observing.recorder import MAX_SPANS, Recorder, Ring
from patterns.errors import RemoteError
from patterns.traces import MAX_EVENTS, MAX_TEXT, Span, TraceContext


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now

    def wall(self) -> datetime:
        return datetime.fromtimestamp(1e9 + self.now, UTC)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def recorder(clock: Clock) -> Recorder:
    return Recorder(Ring(), clock, clock.wall, Random(1))


def span_of(recorder: Recorder, parent: TraceContext | None = None, name: str = "a.b") -> Span:
    return recorder.begin("client", name, parent, {})


def test_the_oldest_gives_way(recorder: Recorder) -> None:
    for number in range(MAX_SPANS + 10):
        recorder.end(span_of(recorder, name=f"n{number}"), None)
    ring = recorder.ring
    assert (len(ring.spans), ring.recorded) == (MAX_SPANS, MAX_SPANS + 10)
    assert ring.spans[0].name == "n10"


def test_what_a_span_can_take_is_bounded(recorder: Recorder) -> None:
    span = span_of(recorder, name="x" * 10_000)
    for _ in range(100):
        recorder.note(span, "y" * 10_000)
    recorder.end(span, RemoteError("E" * 10_000, "", "", None))
    assert len(span.name) == len(span.error) == len(span.events[0][1]) == MAX_TEXT
    assert len(span.events) == MAX_EVENTS


def test_a_child_has_the_trace_of_its_parent_and_an_id_of_its_own(recorder: Recorder) -> None:
    root = span_of(recorder)
    child = span_of(recorder, root.context)
    assert child.context.trace_id == root.context.trace_id
    assert child.parent_id == root.context.span_id != child.context.span_id
    assert root.parent_id == ""


def test_what_is_not_sampled_is_not_kept(recorder: Recorder) -> None:
    recorder.end(span_of(recorder, TraceContext("1" * 32, "2" * 16, is_sampled=False)), None)
    assert not recorder.ring.spans
    assert not recorder.open


def test_a_span_ends_once(recorder: Recorder, clock: Clock) -> None:
    span = span_of(recorder)
    clock.now += 2.0
    recorder.end(span, None)
    recorder.end(span, ValueError())
    assert (span.seconds, span.error, recorder.ring.recorded) == (2.0, "", 1)


def test_traces_are_told_newest_first_by_their_first_span(recorder: Recorder, clock: Clock) -> None:
    old, new = span_of(recorder, name="old"), span_of(recorder, name="new")
    clock.now += 1.0
    recorder.end(span_of(recorder, old.context, "child"), KeyError())
    recorder.end(old, None)
    clock.now += 1.0
    recorder.end(new, None)
    told = recorder.ring.traces(10)
    assert [(t["name"], t["spans"], t["errors"], t["has_root"]) for t in told] == [
        ("new", 1, 0, True),
        ("old", 2, 1, True),
    ]
    assert told[1]["end"] - told[1]["start"] == pytest.approx(1.0)
    assert len(recorder.ring.traces(1)) == 1
    (first, second) = recorder.ring.of_trace(old.context.trace_id[:6])
    assert (first["name"], first["error"], second["name"]) == ("child", "KeyError", "old")


def test_what_is_kept_has_not_what_others_gave_a_trace_to_carry(recorder: Recorder) -> None:
    span = span_of(recorder, TraceContext("1" * 32, "2" * 16, state="s" * 99, baggage="b" * 99))
    within = span.context
    recorder.end(span, None)
    (kept,) = recorder.ring.spans
    assert (kept.context.traceparent, kept.context.state, kept.context.baggage) == (
        within.traceparent,
        "",
        "",
    )
    # A task that its handler left behind goes on within it.
    assert (within.state, within.baggage) == ("s" * 99, "b" * 99)
