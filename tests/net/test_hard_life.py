"""Life, threads and API shapes where they hurt: signals, handlers that raise anything.

What may hang runs as a program of its own, so that a hang is a failure and not a stuck run.
"""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import gc
import os
import socket
import textwrap
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

import mesh
from mesh.runtime import Gate
from tests.net.processes import Script, until, until_async

if TYPE_CHECKING:
    from decimal import Decimal as OnlyForTypeCheckers

Make = Callable[..., mesh.Node]
Run = Callable[..., Script]

ENDS_WITHIN = 2.0 * 10
"""Seconds for a small program, interpreter start included, on a busy machine."""

CALL_WITHIN = 3.0
"""Seconds for a call that is answered in a millisecond; one that is lost takes all of them."""

HEAD = """
import asyncio, os, signal, sys, threading, time, mesh
def make(name="calc", **settings):
    return mesh.Node(name, mesh=sys.argv[1], discovery=("local",), **settings)
def make_async(name="calc", **settings):
    return mesh.AsyncNode(name, mesh=sys.argv[1], discovery=("local",), **settings)
def outcome(verb):
    try:
        return verb()
    except BaseException as error:
        return type(error).__name__
def on_timer(function, seconds):
    signal.signal(signal.SIGALRM, lambda number, frame: function())
    signal.setitimer(signal.ITIMER_REAL, seconds)
def thread(function):
    thread = threading.Thread(target=function, daemon=True)
    thread.start()
    return thread
"""


def output(run_script: Run, mesh_name: str, text: str) -> list[str]:
    """The lines that a program prints; it must end by itself, and well."""
    script = run_script(HEAD + textwrap.dedent(text), mesh_name)
    assert script.wait(ENDS_WITHIN) == 0, script.errors
    assert "Traceback" not in script.errors
    assert script.process.stdout is not None
    return script.process.stdout.read().splitlines()


# Handlers that raise anything.

RAISES = """
node = make()
def handle(x):
    if x == 0:
        raise {error}
    return x
async def handle_async(x):
    return handle(x)
how = "{how}"
function = handle_async if how == "async" else handle
if "{what}" == "rpc":
    node.rpc("handle", inline=how == "inline")(function)
else:
    seen = []
    def on_message(message):
        seen.append(message.data)
        handle(message.data)
    async def on_message_async(message):
        on_message(message)
    chosen = on_message_async if how == "async" else on_message
    node.subscriber("news", inline=how == "inline")(chosen)
node.rpc("fine")(lambda: "fine")
node.start()
if "{what}" == "rpc":
    results = {{}}
    def call(x):
        results[x] = outcome(lambda: node.service("calc", timeout=3.0).handle(x))
    threads = [thread(lambda x=x: call(x)) for x in range(4)]
    for one in threads:
        one.join(6.0)
    print([results.get(x) for x in range(4)])
else:
    for x in range(4):
        node.publish("news", x)
    deadline = time.monotonic() + 3.0
    while len(seen) < 4 and time.monotonic() < deadline:
        time.sleep(0.005)
    print(seen)
print(outcome(lambda: node.service("calc", timeout=3.0).fine()), outcome(node.close))
"""

ERRORS = ["SystemExit(3)", "KeyboardInterrupt()", "asyncio.CancelledError()", "GeneratorExit()"]


@pytest.mark.parametrize("how", ["inline", "async", "pool"])
@pytest.mark.parametrize("error", ERRORS)
def test_a_method_that_raises_anything_answers_and_the_node_lives(
    run_script: Run, mesh_name: str, how: str, error: str
) -> None:
    script = run_script(HEAD + RAISES.format(error=error, how=how, what="rpc"), mesh_name)
    assert script.wait(ENDS_WITHIN) == 0, script.errors
    assert script.process.stdout is not None
    results, rest = script.process.stdout.read().splitlines()
    assert results == "['RemoteError', 1, 2, 3]"
    assert rest == "fine None"


@pytest.mark.parametrize("how", ["inline", "async", "pool"])
@pytest.mark.parametrize("error", ERRORS)
def test_a_subscriber_that_raises_anything_gets_the_next_message_and_the_node_lives(
    run_script: Run, mesh_name: str, how: str, error: str
) -> None:
    script = run_script(HEAD + RAISES.format(error=error, how=how, what="subscriber"), mesh_name)
    assert script.wait(ENDS_WITHIN) == 0, script.errors
    assert script.process.stdout is not None
    seen, rest = script.process.stdout.read().splitlines()
    assert seen == "[0, 1, 2, 3]"
    assert rest == "fine None"


class NoText(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


@pytest.mark.parametrize("inline", [False, True])
@pytest.mark.parametrize("error", [NoText(), ValueError("\udcff")], ids=["no text", "surrogate"])
def test_an_error_that_cannot_be_told_is_still_an_answer_and_delays_no_other(
    make_node: Make, inline: bool, error: Exception
) -> None:
    node = make_node("calc")

    @node.rpc(inline=inline)
    def handle(x: int) -> int:
        if x == 0:
            raise error
        return x

    node.start()
    assert outcomes(node, "handle", range(4)) == [mesh.RemoteError, 1, 2, 3]


def outcomes(node: mesh.Node, method: str, arguments: Any) -> list[Any]:
    """What each of some calls at once came to: its value, or the class of its error."""
    service = node.service(node.name, timeout=CALL_WITHIN)

    def call(argument: Any) -> Any:
        try:
            return service[method](argument)
        except Exception as error:  # noqa: BLE001  judged by the test
            return type(error)

    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(call, arguments))


@dataclasses.dataclass
class Checked:
    x: int

    def __post_init__(self) -> None:
        if self.x == 0:
            raise LookupError("no such x")


def test_a_dataclass_that_refuses_its_map_is_a_bad_request_and_delays_no_other(
    make_node: Make,
) -> None:
    node = make_node("calc")

    @node.rpc
    def handle(value: Checked) -> int:
        return value.x

    node.start()
    maps = [{"x": x} for x in range(4)]
    assert outcomes(node, "handle", maps) == [mesh.BadRequest, 1, 2, 3]


# Close.


def test_close_does_not_wait_for_a_coroutine_that_swallows_cancellation(
    run_script: Run, mesh_name: str
) -> None:
    lines = output(
        run_script,
        mesh_name,
        """
        entered = threading.Event()
        node = make()
        @node.rpc
        async def stuck():
            while True:
                try:
                    entered.set()
                    await asyncio.sleep(0.01)
                except asyncio.CancelledError:
                    pass
        node.start()
        thread(lambda: outcome(lambda: node.call("calc.stuck")))
        entered.wait(10.0)
        node.close()
        print("closed")
        """,
    )
    assert lines == ["closed"]


def test_after_close_no_handler_is_started(make_node: Make) -> None:
    started: list[int] = []
    gate, entered = threading.Event(), threading.Event()
    node = make_node("calc")

    @node.subscriber("news")
    def on_news(message: mesh.Message) -> None:
        started.append(message.data)
        entered.set()
        gate.wait(10.0)

    node.start()
    for number in range(50):
        node.publish("news", number)
    assert entered.wait(10.0)
    (worker,) = (t for t in threading.enumerate() if t.name.startswith("mesh-worker"))
    node.close()
    before = len(started)
    gate.set()
    worker.join(10.0)
    assert not worker.is_alive()
    assert len(started) == before


def test_a_subscription_that_begins_after_close_is_node_closed(mesh_name: str) -> None:
    async def main() -> None:
        node = mesh.AsyncNode("calc", mesh=mesh_name, discovery=("local",))
        await node.start()
        subscription = node.subscribe("news")
        await node.close()
        with pytest.raises(mesh.NodeClosed):
            await subscription
        with pytest.raises(mesh.NodeClosed):
            await subscription.get(timeout=CALL_WITHIN)

    asyncio.run(main())


@pytest.mark.parametrize("attempt", range(3))
def test_every_thread_comes_back_with_node_closed_when_the_node_closes(
    make_node: Make, attempt: int
) -> None:
    other, node = make_node("other"), make_node("calc")
    other.rpc("work")(lambda: 1)
    other.start()
    node.start()
    node.wait_for("other", timeout=20.0)
    verbs: list[Callable[[], Any]] = [
        lambda: node.call("other.work"),
        lambda: node.publish("news", "x" * 1000),
        lambda: subscribe_once(node.subscribe("news")),
        lambda: subscribe_once(node.join("crew")),
        lambda: node.watch().close(),
        lambda: node.flush(60.0),
        lambda: node.peers(),
        lambda: node.send(other.id, "news"),
    ]
    with ThreadPoolExecutor(16) as pool:
        using = [pool.submit(use_until_closed, verb) for verb in verbs * 2]
        until(lambda: node.me.groups == {"crew"})
        began = time.monotonic()
        node.close()
        took = time.monotonic() - began
        assert {result.result(10.0) for result in using} == {mesh.NodeClosed}
    assert took < 3.0, "close waited for a wait that began behind it"


def subscribe_once(subscription: Any) -> None:
    with subscription:
        try:
            subscription.get(timeout=0.001)
        except mesh.Timeout:
            return


def use_until_closed(verb: Callable[[], Any]) -> type[Exception]:
    while True:
        try:
            verb()
        except mesh.Timeout:
            continue
        except Exception as error:  # noqa: BLE001  judged by the test
            return type(error)


def test_cancelling_start_and_close_reports_nothing(mesh_name: str) -> None:
    problems: list[dict[str, Any]] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda loop, context: problems.append(context))
        node = mesh.AsyncNode("calc", mesh=mesh_name, key="some words", host="127.0.0.1")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(node.start(), 0.01)
        await node.close()
        other = mesh.AsyncNode("calc", mesh=mesh_name, discovery=("local",))
        await other.start()
        closing = asyncio.create_task(other.close())
        await asyncio.sleep(0)
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing

    asyncio.run(main())
    assert problems == []
    gc.collect()  # what was left open warns here


# Start.


def test_what_is_registered_while_the_node_starts_is_served(mesh_name: str) -> None:
    async def main() -> None:
        node = mesh.AsyncNode("calc", mesh=mesh_name, discovery=("local",))
        starting = asyncio.create_task(node.start())
        turn = 0
        while not starting.done():
            node.rpc(f"method{turn}")(lambda: 1)
            turn += 1
            await asyncio.sleep(0)
        await starting
        try:
            assert turn > 1
            assert node.me.services == {"calc": tuple(sorted(f"method{n}" for n in range(turn)))}
        finally:
            await node.close()

    asyncio.run(main())


def test_a_start_that_failed_can_be_tried_again(make_node: Make) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        node = make_node("calc", port=taken.getsockname()[1])
        with pytest.raises(OSError, match="in use"):
            node.start()
    assert node.start().me.name == "calc"


def test_ctrl_c_at_the_end_of_start_leaves_nothing_open(
    make_node: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    wait = Gate.wait
    interrupts = [KeyboardInterrupt()]

    def interrupted(gate: Gate, timeout: float | None = None) -> bool:
        is_open = wait(gate, timeout)
        if interrupts:
            raise interrupts.pop()
        return is_open

    other = make_node("other").start()
    node = make_node("calc")
    with monkeypatch.context() as patch:
        patch.setattr(Gate, "wait", interrupted)
        with pytest.raises(KeyboardInterrupt):
            node.start()
    node.close()
    with pytest.raises(mesh.NodeClosed):
        node.peers()
    until(lambda: not other.peers())
    assert f"mesh-{node.name}" not in {thread.name for thread in threading.enumerate()}


@pytest.mark.parametrize("options", [{"concurrency": 0}, {"buffer": 0}])
def test_bounds_below_one_are_refused_at_the_decorator_also_before_start(
    make_node: Make, options: dict[str, Any]
) -> None:
    node = make_node("calc")
    with pytest.raises(mesh.ConfigError):
        node.subscriber("a", **options)(lambda message: None)


# Signals.


def test_close_in_a_signal_handler_during_start_ends(run_script: Run, mesh_name: str) -> None:
    lines = output(
        run_script,
        mesh_name,
        """
        node = make(key="some words", host="127.0.0.1")
        on_timer(node.close, 0.03)
        print(outcome(node.start) in ("NodeClosed", node))
        node.close()
        """,
    )
    assert lines == ["True"]


def test_close_in_a_signal_handler_during_close_ends(run_script: Run, mesh_name: str) -> None:
    lines = output(
        run_script,
        mesh_name,
        """
        entered, gate = threading.Event(), threading.Event()
        node = make()
        @node.rpc
        def slow():
            entered.set()
            gate.wait(30.0)
        node.start()
        thread(lambda: outcome(lambda: node.call("calc.slow")))
        entered.wait(10.0)
        on_timer(node.close, 0.05)
        node.close()
        gate.set()
        print("closed")
        """,
    )
    assert lines == ["closed"]


def test_a_signal_handler_may_publish_while_its_thread_publishes(
    run_script: Run, mesh_name: str
) -> None:
    lines = output(
        run_script,
        mesh_name,
        """
        node = make().start()
        subscription = node.subscribe("news")
        hits = 0
        def hit():
            global hits
            hits += 1
            node.publish("news", 1)
            signal.setitimer(signal.ITIMER_REAL, 0.001)
        on_timer(hit, 0.001)
        while hits < 1000:
            node.publish("news", 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        node.close()
        print("closed")
        """,
    )
    assert lines == ["closed"]


@pytest.mark.parametrize("face", ["Node", "AsyncNode"])
def test_run_ends_when_a_handler_closes_the_node(
    run_script: Run, mesh_name: str, face: str
) -> None:
    text = """
        node = MAKE
        @node.subscriber("stop")
        async def stop(message):
            await CLOSE
        def stop_it():
            while outcome(lambda: node.publish("stop")) != 1:
                time.sleep(0.01)
        thread(stop_it)
        RUN
        print("ended")
        """
    words = {
        "Node": {"MAKE": "make()", "CLOSE": "node.aio.close()", "RUN": "node.run()"},
        "AsyncNode": {
            "MAKE": "make_async()",
            "CLOSE": "node.close()",
            "RUN": "asyncio.run(node.run())",
        },
    }[face]
    for word, code in words.items():
        text = text.replace(word, code)
    assert output(run_script, mesh_name, text) == ["ended"]


def test_a_signal_ends_every_run_of_a_loop(run_script: Run, mesh_name: str) -> None:
    lines = output(
        run_script,
        mesh_name,
        """
        async def main():
            nodes = [make_async(name) for name in ("a", "b", "c")]
            async def stop():
                await asyncio.sleep(0.01)
                while outcome(lambda: [node.me for node in nodes]) == "NodeClosed":
                    await asyncio.sleep(0.01)
                await asyncio.sleep(0.05)
                os.kill(os.getpid(), signal.SIGTERM)
            await asyncio.gather(stop(), *(node.run() for node in nodes))
        asyncio.run(main())
        print("ended")
        """,
    )
    assert lines == ["ended"]


# Threads and loops.


@pytest.mark.parametrize("verb", ["subscription.get", "lambda: next(events)", "node.run"])
@pytest.mark.parametrize("how", ["inline", "async"])
def test_what_would_block_the_nodes_own_loop_is_a_runtime_error(
    run_script: Run, mesh_name: str, verb: str, how: str
) -> None:
    lines = output(
        run_script,
        mesh_name,
        f"""
        node = make().start()
        subscription, events = node.subscribe("never"), node.watch()
        verb = {verb}
        if {how!r} == "inline":
            @node.rpc(inline=True)
            def block():
                return outcome(verb)
        else:
            @node.rpc
            async def block():
                return outcome(verb)
        print(node.call("calc.block"))
        node.close()
        """,
    )
    assert lines == ["RuntimeError"]


def test_a_node_whose_loop_has_ended_is_node_closed_for_other_threads_and_can_be_closed(
    run_script: Run, mesh_name: str
) -> None:
    lines = output(
        run_script,
        mesh_name,
        """
        node = make_async()
        async def main():
            await node.start()
        asyncio.run(main())
        print([outcome(lambda: node.broadcast("crew")) for _ in range(3)])
        print([outcome(lambda: node.publish("news")) for _ in range(3)])
        print(outcome(lambda: asyncio.run(node.close())))
        """,
    )
    assert lines == [str(["NodeClosed"] * 3), str(["NodeClosed"] * 3), "None"]


@pytest.mark.parametrize("how", ["iteration", "get", "get with a timeout"])
def test_tasks_that_share_a_subscription_all_end_with_it(mesh_name: str, how: str) -> None:
    async def main() -> None:
        got: list[Any] = []
        node = mesh.AsyncNode("calc", mesh=mesh_name, discovery=("local",))
        await node.start()
        subscription = await node.subscribe("news")

        async def read() -> None:
            if how == "iteration":
                async for message in subscription:
                    got.append(message.data)
                return
            while True:
                try:
                    message = await subscription.get(None if how == "get" else 0.02)
                except mesh.Timeout:
                    continue
                except mesh.NodeClosed:
                    return
                got.append(message.data)

        readers = [asyncio.create_task(read()) for _ in range(4)]
        await asyncio.sleep(0.05)
        for number in range(20):
            node.publish("news", number)
            await asyncio.sleep(0)
        await until_async(lambda: len(got) == 20)
        assert sorted(got) == list(range(20))
        await node.close()
        _, waiting = await asyncio.wait(readers, timeout=CALL_WITHIN)
        for reader in waiting:
            reader.cancel()
        assert not waiting

    asyncio.run(main())


def test_nodes_of_two_loops_in_two_threads_work_together(mesh_name: str) -> None:
    both = threading.Barrier(2)

    def run(name: str, other: str) -> Any:
        async def main() -> Any:
            async with mesh.AsyncNode(name, mesh=mesh_name, discovery=("local",)) as node:
                node.rpc("name")(lambda: name)
                told = await node.service(other, wait=10.0, timeout=10.0).name()
                await asyncio.to_thread(both.wait, 20.0)
                return told

        return asyncio.run(main())

    with ThreadPoolExecutor(2) as pool:
        results = [pool.submit(run, "a", "b"), pool.submit(run, "b", "a")]
        assert [result.result(20.0) for result in results] == ["b", "a"]


@pytest.mark.parametrize("inline", [False, True])
def test_a_machine_without_threads_left_costs_the_call_and_not_the_node(
    make_node: Make, monkeypatch: pytest.MonkeyPatch, inline: bool
) -> None:
    start = threading.Thread.start

    def start_none(thread: threading.Thread) -> None:
        if thread.name.startswith("mesh-worker"):
            raise RuntimeError("can't start new thread")
        start(thread)

    before = native_threads()
    node = make_node("calc")
    node.rpc("work", inline=inline)(lambda x: x)
    node.start()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start_none)
        expected = [0, 1] if inline else [mesh.Overloaded, mesh.RemoteError]
        for result in outcomes(node, "work", range(2)):
            assert result in expected
    assert outcomes(node, "work", range(4)) == [0, 1, 2, 3]
    node.close()
    until(lambda: native_threads() <= before, what="the end of all threads")


def native_threads() -> int:
    """Threads of this process, those of libzmq included."""
    return len(os.listdir("/proc/self/task"))


def test_a_node_can_be_closed_when_no_thread_can_be_started(
    run_script: Run, mesh_name: str
) -> None:
    """Python 3.12 and later refuse new threads at exit."""
    lines = output(
        run_script,
        mesh_name,
        """
        node = make()
        node.rpc("add")(lambda a, b: a + b)
        node.start()
        print(node.call("calc.add", 1, 2))
        def refuse(thread):
            raise RuntimeError("can't create new thread at interpreter shutdown")
        threading.Thread.start = refuse
        node.close()
        deadline = time.monotonic() + 5.0
        while len(os.listdir("/proc/self/task")) > 1 and time.monotonic() < deadline:
            time.sleep(0.01)
        print(os.listdir("/proc/self/task") == [str(os.getpid())])
        """,
    )
    assert lines == ["3", "True"]


# Shapes of handlers.


@dataclasses.dataclass
class Point:
    x: int


def test_an_annotation_that_cannot_be_resolved_spoils_no_other(make_node: Make) -> None:
    node = make_node("calc")

    @node.rpc
    def who(a: int, request: mesh.Request) -> OnlyForTypeCheckers:
        return [a, request.caller.name]  # type: ignore[return-value]

    @node.rpc
    def where(point: Point) -> OnlyForTypeCheckers:
        return point.x  # type: ignore[return-value]

    node.start()
    assert node.call("calc.who", 1) == [1, "calc"]
    assert node.call("calc.where", {"x": 2}) == 2


def test_dataclass_parameters_may_be_optional_or_many(make_node: Make) -> None:
    node = make_node("calc")

    @node.rpc
    def optional(point: Point | None = None) -> Any:
        return point.x if point is not None else None

    @node.rpc
    def many(*points: Point, **named: Point) -> list[int]:
        return [point.x for point in (*points, *named.values())]

    @node.rpc
    def caller(request: mesh.Request | None = None) -> Any:
        return request.caller.name if request is not None else None

    node.start()
    assert node.call("calc.optional", {"x": 1}) == 1
    assert node.call("calc.optional", None) is None
    assert node.call("calc.optional") is None
    assert node.call("calc.many", {"x": 1}, {"x": 2}, third={"x": 3}) == [1, 2, 3]
    assert node.call("calc.caller") == "calc"


def test_a_plain_wrapper_around_a_coroutine_function_is_awaited(make_node: Make) -> None:
    async def add(a: int, b: int) -> int:
        return a + b

    @functools.wraps(add)
    def wrapper(*args: Any) -> Any:
        return add(*args)

    node = make_node("calc")
    node.rpc("add")(wrapper)
    node.start()
    assert node.call("calc.add", 1, 2) == 3


def generator(message: Any) -> Iterator[int]:
    yield 1


async def async_generator(message: Any) -> AsyncIterator[int]:
    yield 1


@pytest.mark.parametrize("function", [generator, async_generator])
def test_a_generator_is_no_handler_of_messages(make_node: Make, function: Any) -> None:
    node = make_node("calc")
    with pytest.raises(mesh.ConfigError):
        node.subscriber("news")(function)
    with pytest.raises(mesh.ConfigError):
        node.member("workers")(function)


class Base:
    def inherited(self) -> str:
        return "inherited"

    def _hidden(self) -> None: ...


class Service(Base):
    class Config: ...

    @property
    def broken(self) -> int:
        raise ValueError("not for serving")

    @property
    def callback(self) -> Callable[[], int]:
        return lambda: 1

    @staticmethod
    def static(a: int) -> int:
        return a

    @classmethod
    def of_class(cls) -> str:
        return cls.__name__

    async def waits(self) -> str:
        return "waited"


def test_serve_takes_the_methods_of_an_object_and_nothing_else(make_node: Make) -> None:
    node = make_node("calc")
    node.serve(Service())
    node.start()
    assert set(node.me.services["calc"]) == {"inherited", "static", "of_class", "waits"}
    assert node.call("calc.static", 1) == 1
    assert node.call("calc.of_class") == "Service"
    assert node.call("calc.waits") == "waited"


def test_serve_takes_an_object_and_no_class(make_node: Make) -> None:
    with pytest.raises(mesh.ConfigError):
        make_node("calc").serve(Service)


def test_serve_adds_all_methods_or_none(make_node: Make) -> None:
    node = make_node("calc")
    node.rpc("static")(lambda: 1)
    with pytest.raises(mesh.ConfigError, match="static"):
        node.serve(Service())
    node.start()
    assert node.me.services == {"calc": ("static",)}


# Settings.


@pytest.mark.parametrize(
    "settings",
    [
        {"tags": {"a": "\udcff"}},
        {"tags": {"a": 1}},
        {"tags": "ab"},
        {"tags": {str(number): "x" for number in range(65)}},
        {"key": b"bytes"},
        {"key": "mesh1-cut-off"},
        {"key": "\udcff"},
        {"host": 5},
        {"port": True},
        {"seeds": 5},
        {"seeds": [5]},
    ],
    ids=repr,
)
def test_more_settings_that_cannot_work_are_refused_at_once(settings: dict[str, Any]) -> None:
    with pytest.raises(mesh.ConfigError):
        mesh.Node("calc", **settings)


@pytest.mark.parametrize("variable", ["NAME", "KEY", "SEEDS", "HOST", "INSECURE"])
@pytest.mark.parametrize("value", ["", " "])
def test_an_empty_or_blank_variable_is_unset(
    make_node: Make, monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(f"MESH_{variable}", value)
    assert make_node("calc").start().me.address.startswith("127.0.0.1:")
    assert mesh.Node("calc").mesh == "mesh"


@pytest.mark.parametrize("host", [" 127.0.0.1", "127.0.0.1 ", "[::1]", "::1", "localhost"])
def test_a_host_may_be_written_in_any_usual_way(make_node: Make, host: str) -> None:
    assert make_node("calc", host=host).start().me.address


@pytest.mark.parametrize("timeout", [None, "1", float("nan")])
def test_a_timeout_that_is_no_number_is_a_config_error(make_node: Make, timeout: Any) -> None:
    node = make_node("calc").start()
    for verb in (
        lambda: node.wait_for("nobody", timeout=timeout),
        lambda: node.flush(timeout),
        lambda: node.subscribe("news", timeout=timeout),
        lambda: node.service("calc", timeout=timeout).add(),
    ):
        with pytest.raises(mesh.ConfigError):
            verb()
