"""Traces on real sockets: threads, processes, and ``meshctl trace`` and ``tap``."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import mesh
from patterns.traces import TraceContext, now_traced
from tests.net.inside import Inside, inside, without_multicast
from tests.net.processes import Script, until, until_async
from tests.sim.test_traces import SAMPLED, TRACE

__all__ = ["inside", "without_multicast"]

Make = Callable[..., mesh.Node]

STOCK = """
import sys, mesh
options = {"mesh": sys.argv[1], "discovery": ("local",)}
depot = mesh.Node("depot", **options)
@depot.rpc
def fetch(item):
    depot.publish("moved.today", item)
    return item
stock = mesh.Node("stock", **options)
@stock.rpc
def take(item):
    return stock.call("depot.fetch", item)
with depot, stock:
    print("ready", file=sys.stderr, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def stock(mesh_name: str) -> Iterator[Script]:
    """A process with two nodes, of which one calls the other."""
    script = Script(["-c", STOCK, mesh_name])
    try:
        until(lambda: "ready" in script.errors, within=60.0, what="the nodes of the process")
        yield script
    finally:
        script.end()


def test_four_hops_over_processes_are_one_trace_in_the_terminal(
    stock: Script, make_node: Make, inside: Inside
) -> None:
    ledger, clerk = make_node("ledger"), make_node("clerk")
    silent = make_node("mute", allow=["operate"])
    written: list[Any] = []

    @ledger.subscriber("moved.*")
    def note(message: mesh.Message) -> None:
        ledger.groupcast("clerks", message.data)

    @clerk.member("clerks")
    def write(message: mesh.Message) -> None:
        written.append(message.data)
        if len(written) == 1:
            raise mesh.Refuse

    for node in (ledger, clerk, silent):
        node.start()
    ledger.wait_for("depot")
    ledger.wait_for(group="clerks")

    called = inside("call", "--trace", "stock.take", "nail")
    assert (called.code, called.out) == (0, "nail\n")
    (id,) = re.findall(r"this is trace ([0-9a-f]{32})$", called.err.strip())
    until(lambda: len(written) == 2)

    def shown() -> Any:
        run = inside("trace", "--json", id)
        return run.json if run.code == 0 and len(run.json["spans"]) == 8 else None

    document = until(shown, within=30.0, what="all spans")
    told = [(s["depth"], s["kind"], s["name"], s["node"].partition("/")[0], s["error"])
            for s in document["spans"]]  # fmt: skip
    assert told == [
        (0, "server", "stock.take", "stock", None),
        (1, "client", "depot.fetch", "stock", None),
        (2, "server", "depot.fetch", "depot", None),
        (3, "producer", "publish moved.today", "depot", None),
        (4, "consumer", "process moved.today", "ledger", None),
        (5, "producer", "groupcast clerks", "ledger", None),
        (6, "consumer", "process clerks", "clerk", "Refuse"),
        (6, "consumer", "process clerks", "clerk", None),
    ]
    assert {span["trace"] for span in document["spans"]} == {id}
    assert [one["name"] for one in document["silent"]] == ["mute"]
    offsets = [span["offset_seconds"] for span in document["spans"]]
    assert all(0 <= offset < 10 for offset in offsets)

    drawn = inside("trace", id[:12])
    assert drawn.code == 0
    assert drawn.out.startswith(f"trace {id}: 8 spans at 4 nodes, ")
    assert "1 error" in drawn.out.splitlines()[0]
    assert f"mute/{silent.id[:8]} did not tell: " in drawn.err
    assert "└ depot.fetch" in drawn.out
    assert re.search(r"from meshctl/\w{8}", drawn.out)
    (listed,) = inside("trace", "--json").json["traces"]
    assert (listed["trace"], listed["name"], listed["spans"]) == (id, "stock.take", 8)
    assert id in inside("trace").out


def test_without_a_trace_it_says_so(make_node: Make, inside: Inside) -> None:
    make_node("calc").start()
    assert inside("trace").out.startswith("no node keeps a span")
    missing = inside("trace", "abcd")
    assert missing.code == 1
    assert "none keeps a span of a trace abcd" in missing.err
    assert inside("trace", "xyz").code == 2
    both = inside("call", "--trace", "--header", "traceparent=00-1-1-01", "calc.add", "1")
    assert both.code == 2


def test_threads_and_pool_handlers_are_in_the_trace_of_their_user(make_node: Make) -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    one, other = make_node("one", tracing=provider), make_node("other", tracing=provider)
    seen: list[int] = []

    @other.rpc
    def ask() -> None:
        seen.append(trace.get_current_span().get_span_context().span_id)
        other.call("one.note")
        other.publish("news", 1)
        other.broadcast("crew", 2)
        other.groupcast("crew", 3)

    done = threading.Semaphore(0)
    one.rpc("note")(lambda: None)
    one.subscriber("news")(lambda message: done.release())
    one.member("crew")(lambda message: done.release())
    one.start(), other.start()
    one.wait_for("other")
    other.wait_for("one")
    with provider.get_tracer("main").start_as_current_span("main") as main:
        one.call("other.ask")
    for _ in range(3):
        assert done.acquire(timeout=10)
    until(lambda: len(exporter.get_finished_spans()) == 11)
    spans = {span.context.span_id: span for span in exporter.get_finished_spans()}
    assert {span.context.trace_id for span in spans.values()} == {main.get_span_context().trace_id}

    def path(span: Any) -> list[str]:
        return [*(path(spans[span.parent.span_id]) if span.parent else ()), span.name]

    assert sorted("/".join(path(span)) for span in spans.values()) == sorted(
        [
            "main",
            "main/other.ask",
            "main/other.ask/other.ask",
            "main/other.ask/other.ask/one.note",
            "main/other.ask/other.ask/one.note/one.note",
            "main/other.ask/other.ask/publish news",
            "main/other.ask/other.ask/publish news/process news",
            "main/other.ask/other.ask/broadcast crew",
            "main/other.ask/other.ask/broadcast crew/process crew",
            "main/other.ask/other.ask/groupcast crew",
            "main/other.ask/other.ask/groupcast crew/process crew",
        ]
    )
    assert spans[seen[0]].kind is trace.SpanKind.SERVER


def test_tap_prints_what_passes_and_names_who_does_not_allow_it(
    make_node: Make, inside: Inside
) -> None:
    calc = make_node("calc", allow=["inspect", "tap"])
    other = make_node("other")
    calc.rpc("add")(lambda a, b: a + b)
    calc.start(), other.start()
    other.wait_for("calc")
    over = threading.Event()

    def work() -> None:
        while not over.wait(0.05):
            other.call("calc.add", 1, 2)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        lines = inside("tap", "--calls", "--count", "2", "--match", "calc.*")
        documents = inside("tap", "calc", "--count", "1", "--json", "--payload")
        nobody = inside("tap", "other")
    finally:
        over.set()
        thread.join()
    assert lines.code == 0
    first, second = lines.out.splitlines()
    shape = rf"\S+  calc/\w+ +in   call +calc.add  other/{other.id[:8]}  3 B  [\d.]+ ms  ok"
    assert re.fullmatch(shape, first)
    assert re.fullmatch(shape, second)
    assert f"meshctl: other/{other.id[:8]} does not let others tap it" in lines.err
    (event,) = documents.lines
    assert (event["node"]["name"], event["name"]) == ("calc", "calc.add")
    assert (event["payload"], event["error"]) == ("[1, 2]", None)
    assert nobody.code == 1
    assert nobody.err.splitlines()[-1] == "meshctl: no node could be tapped"
    assert inside("tap", "nobody").code == 1


@pytest.mark.parametrize("has_library", [False, True])
def test_who_started_a_node_within_a_trace_is_in_no_other_handlers_trace(
    make_async: Callable[..., mesh.AsyncNode], has_library: bool
) -> None:
    """The loop's callbacks run in the context in which they were made."""
    provider = TracerProvider(shutdown_on_exit=False) if has_library else None
    seen: list[Any] = []

    async def body() -> None:
        now_traced.set(TraceContext("f" * 32, "f" * 16))
        with TracerProvider(shutdown_on_exit=False).get_tracer("t").start_as_current_span("start"):
            one, other = make_async("one"), make_async("other", tracing=provider)

            def look(*_: Any) -> None:
                own = now_traced.get()
                theirs = trace.get_current_span().get_span_context().is_valid
                seen.append((None if own is None else own.trace_id, has_library and theirs))

            other.rpc("ask")(look)
            other.subscriber("news")(look)
            await one.start()
            await other.start()
        now_traced.set(None)
        async with one, other:
            other.host.observing.begins = False
            await one.wait_for("other", timeout=10)
            await one.service("other", headers=SAMPLED).ask()
            await one.call("other.ask")
            one.publish("news", 1)
            await until_async(lambda: len(seen) == 3)

    asyncio.run(body())
    assert seen == [(TRACE, has_library), (None, False), (None, False)]
