"""The same traces with OpenTelemetry: its spans have the ids, parents and kinds of ours."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry import baggage, context, trace
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import SpanKind, StatusCode

import mesh
from mesh.testing import SimMesh
from tests.sim.test_traces import SAMPLED, TRACE, Chain, check_hops, settle, spans_of


@pytest.fixture
def sim() -> Iterator[SimMesh]:
    with SimMesh(seed=1) as sim:
        yield sim


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def provider(exporter: InMemorySpanExporter) -> TracerProvider:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return provider


def ids(span: ReadableSpan) -> tuple[str, str, str]:
    own = span.context
    parent = "" if span.parent is None else f"{span.parent.span_id:016x}"
    return f"{own.trace_id:032x}", f"{own.span_id:016x}", parent


def test_four_hops_have_the_same_ids_in_both(
    sim: SimMesh, provider: TracerProvider, exporter: InMemorySpanExporter
) -> None:
    chain = Chain(sim, tracing=provider)

    async def body() -> Any:
        with provider.get_tracer("shop").start_as_current_span("order"):
            return await chain.shop.call("stock.take", "nail")

    sim.run(body())
    sim.until(lambda: len(chain.handled) == 2, within=5.0)
    sim.advance(0.1)
    theirs = {span.context.span_id: span for span in exporter.get_finished_spans()}
    (order,) = [span for span in theirs.values() if span.name == "order"]
    ours = chain.spans()
    check_hops(ours, ids(order)[1])
    assert len({span.context.trace_id for span in ours}) == 1
    for span in ours:
        twin = theirs[int(span.context.span_id, 16)]
        assert ids(twin) == (span.context.trace_id, span.context.span_id, span.parent_id)
        assert (twin.name, twin.kind.name.lower()) == (span.name, span.kind)
        assert dict(twin.attributes or {}).items() >= span.attributes.items()
    assert len(theirs) == len(ours) + 1
    (refused,) = [span for span in theirs.values() if span.status.status_code is StatusCode.ERROR]
    assert (refused.name, refused.status.description) == ("process clerks", "Refuse")
    assert (refused.attributes or {})["error.type"] == "Refuse"


@pytest.mark.parametrize("inline", [True, False])
@pytest.mark.parametrize("is_async", [True, False])
def test_a_handler_runs_with_its_span_as_the_current_one(
    sim: SimMesh, provider: TracerProvider, inline: bool, is_async: bool
) -> None:
    one, other = sim.node("one", tracing=provider), sim.node("other", tracing=provider)
    seen: list[Any] = []

    def look(*_: Any) -> None:
        seen.append(trace.get_current_span())
        seen.append(baggage.get_baggage("who"))

    async def look_async(*_: Any) -> None:
        look()

    handler = look_async if is_async else look
    other.rpc("ask", inline=inline)(handler)
    other.subscriber("news", inline=inline)(handler)
    settle(sim, one, other)
    headers = SAMPLED | {"baggage": "who=me"}
    sim.run(one.service("other", headers=headers).ask())
    one.publish("news", 1, headers=headers)
    sim.advance(0.1)
    served, process = spans_of(other)
    assert [span.get_span_context().span_id for span in seen[::2]] == [
        int(served.context.span_id, 16),
        int(process.context.span_id, 16),
    ]
    assert seen[0].kind is SpanKind.SERVER
    assert seen[1::2] == ["me", "me"]


def test_a_span_of_the_user_around_the_start_is_nobodys_parent(
    sim: SimMesh, provider: TracerProvider
) -> None:
    """A node's callbacks run in the context in which they were made."""
    with provider.get_tracer("main").start_as_current_span("start"):
        one, other = sim.node("one"), sim.node("other", tracing=provider)
        other.rpc("ask")(lambda: trace.get_current_span().get_span_context().is_valid)
        settle(sim, one, other)
        seen: list[bool] = []

        @other.subscriber("news")
        def look(message: mesh.Message) -> None:
            other.publish("next", 1)

        one.subscriber("next")(lambda message: seen.append(TRACE in str(message.headers)))
        sim.advance(1.0)
    one.publish("news", 1, headers=SAMPLED)
    sim.advance(0.1)
    assert seen == [True]


def test_what_their_sampler_drops_is_not_recorded_and_passed_on_as_that(sim: SimMesh) -> None:
    provider = TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False)
    one, other = sim.node("one", tracing=provider), sim.node("other")
    heard: list[str] = []
    other.subscriber("news")(lambda message: heard.append(message.headers["traceparent"]))
    settle(sim, one, other)
    one.publish("news", 1)
    sim.advance(0.1)
    assert heard[0].endswith("-00")
    assert spans_of(one) == spans_of(other) == []


def test_a_node_left_to_itself_follows_the_programs_provider(
    sim: SimMesh, provider: TracerProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
    one, other = sim.node("one"), sim.node("other", tracing=False)
    other.rpc("ask")(lambda: 1)
    settle(sim, one, other)
    sim.run(one.call("other.ask"))
    assert spans_of(one) == []  # it begins none by itself
    token = context.attach(context.Context())
    try:
        tracer = provider.get_tracer("shop")

        async def body() -> None:
            with tracer.start_as_current_span("order"):
                await one.call("other.ask")

        sim.run(body())
    finally:
        context.detach(token)
    (span,) = spans_of(one)
    assert span.parent_id


class Faulty(SpanProcessor):
    def on_start(self, span: Any, parent_context: Any = None) -> None:
        if span.kind is SpanKind.CLIENT:
            raise RuntimeError("the collector is on fire")

    def on_end(self, span: Any) -> None:
        raise RuntimeError("the collector is on fire")


def test_what_their_processor_raises_is_logged_and_the_call_goes_on(
    sim: SimMesh, caplog: pytest.LogCaptureFixture
) -> None:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(Faulty())
    one, other = sim.node("one", tracing=provider), sim.node("other", tracing=provider)
    other.rpc("ask")(lambda: 1)
    settle(sim, one, other)
    assert sim.run(one.call("other.ask")) == 1
    sim.advance(0.1)
    assert [len(spans_of(node)) for node in (one, other)] == [1, 1]
    assert spans_of(other)[0].parent_id == spans_of(one)[0].context.span_id
    texts = {record.message for record in caplog.records if record.name == "mesh.tracing"}
    assert texts == {
        "the tracer provider could not begin a span",
        "the tracer provider could not end a span",
    }
