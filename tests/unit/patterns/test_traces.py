"""The headers of a trace: what is read of them, and what is sent."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from patterns.rpc import CallOptions
from patterns.traces import MAX_CARRIED, MAX_TEXT, TraceContext, headers_with, read_context

TRACE = "0af7651916cd43dd8448eb211c80319c"
SPAN = "b7ad6b7169203331"


@pytest.mark.parametrize(
    ("text", "is_sampled"),
    [
        (f"00-{TRACE}-{SPAN}-01", True),
        (f"00-{TRACE}-{SPAN}-00", False),
        (f"00-{TRACE}-{SPAN}-03", True),  # a flag that we do not know is no reason
        (f"cc-{TRACE}-{SPAN}-01", True),
        (f"cc-{TRACE}-{SPAN}-01-what-the-future-may-bring", True),
    ],
)
def test_what_the_standard_allows_is_read(text: str, is_sampled: bool) -> None:
    context = read_context({"traceparent": text, "tracestate": "a=1", "baggage": "b=2"})
    assert context is not None
    assert (context.trace_id, context.span_id) == (TRACE, SPAN)
    assert context.is_sampled is is_sampled
    assert (context.state, context.baggage) == ("a=1", "b=2")


@pytest.mark.parametrize(
    "text",
    [
        None,
        7,
        "",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}-1",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE}-{SPAN}-01\n",
        f" 00-{TRACE}-{SPAN}-01",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE[1:]}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE}-{SPAN}-0x",
        f"cc-{TRACE}-{SPAN}-01-{'x' * MAX_TEXT}",
    ],
)
def test_what_is_invalid_is_none(text: Any) -> None:
    assert read_context({"traceparent": text}) is None
    assert read_context({}) is None


SHORT = st.text(max_size=8)


@settings(max_examples=50)
@given(st.integers(1, 2**128 - 1), st.integers(1, 2**64 - 1), st.booleans(), SHORT, SHORT)
def test_what_is_sent_is_read_again(
    trace: int, span: int, is_sampled: bool, state: str, baggage: str
) -> None:
    context = TraceContext(f"{trace:032x}", f"{span:016x}", is_sampled, state, baggage)
    again = read_context(headers_with(None, context))
    assert again is not None
    assert (again.traceparent, again.state, again.baggage) == (
        context.traceparent,
        state,
        baggage,
    )


def test_given_headers_are_not_changed_and_go_before() -> None:
    given = {"colour": "red", "tracestate": "mine=1"}
    made = headers_with(given, TraceContext(TRACE, SPAN, state="theirs=1", baggage="b=2"))
    assert given == {"colour": "red", "tracestate": "mine=1"}
    assert made == {
        "traceparent": f"00-{TRACE}-{SPAN}-01",
        "tracestate": "mine=1",
        "baggage": "b=2",
        "colour": "red",
    }


def test_options_with_headers_are_others_and_so_are_their_legs() -> None:
    plain = CallOptions(timeout=2.0, hedge=0.1)
    options = plain.with_headers({"a": "1"})
    assert plain.headers is None
    assert plain.is_plain
    assert options.headers == {"a": "1"}
    assert not options.is_plain
    assert [leg.headers for leg in options.legs] == [{"a": "1"}] * 2
    assert [leg.is_beside for leg in options.legs] == [False, True]
    assert [leg.headers for leg in plain.legs] == [None, None]
    assert not CallOptions().for_stream([1, 2]).with_headers({}).is_plain


def test_what_is_too_long_to_be_carried_is_left_behind_and_the_trace_goes_on() -> None:
    parent = {"traceparent": f"00-{TRACE}-{SPAN}-01"}
    for length, is_carried in ((MAX_CARRIED, True), (MAX_CARRIED + 1, False)):
        text = "x" * length
        found = read_context({**parent, "tracestate": text, "baggage": text})
        assert found is not None
        assert (bool(found.state), bool(found.baggage)) == (is_carried, is_carried)
