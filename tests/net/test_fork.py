"""Nodes and forks: what was started before one works in the parent only, and is unharmed there.

Every child is forked by a program of its own: a fork of the test's process would take its threads
for granted. An alarm ends a child that hangs, and its exit status then says so.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable

import pytest

from tests.net.processes import Script

Run = Callable[..., Script]

ENDS_WITHIN = 60.0
"""Seconds for a program that needs one, interpreter start included, on a busy machine."""

HEAD = """
import asyncio, multiprocessing, os, signal, sys, threading, time, mesh

def make(name="calc", **settings):
    return mesh.Node(name, mesh=sys.argv[1], discovery=("local",), **settings)

def make_async(name="calc", **settings):
    return mesh.AsyncNode(name, mesh=sys.argv[1], discovery=("local",), **settings)

async def finish(awaitable):
    return await awaitable

def outcome(verb, *arguments):
    try:
        result = verb(*arguments)
        if hasattr(result, "__await__"):
            asyncio.run(finish(result))
        return "returned"
    except mesh.NodeClosed as error:
        return "told" if "before this process was forked" in str(error) else str(error)
    except Exception as error:
        return repr(error)

def wrong(verbs):
    outcomes = {name: outcome(verb) for name, verb in verbs.items()}
    return {name: found for name, found in outcomes.items() if found != "told"}

def fork(child):
    "The exit status of a child that does this."
    pid = os.fork()
    if pid == 0:
        signal.alarm(20)  # ends it if it hangs
        child()
    return os.waitpid(pid, 0)[1]
"""

VERBS = """
def verbs(node):
    return {
        "publish": lambda: node.publish("a.b"), "broadcast": lambda: node.broadcast("g"),
        "send": lambda: node.send("0" * 32, "a"), "peers": node.peers, "watch": node.watch,
        "owner": lambda: node.owner("calc", "k"), "owners": lambda: node.owners("calc", "k"),
        "counters": node.counters, "discovery": node.discovery, "me": lambda: node.me,
        "call": lambda: node.call("calc.add", 1, 2), "flush": node.flush,
        "service": lambda: node.service("calc").add(1, 2), "wait_for": node.wait_for,
        "groupcast": lambda: node.groupcast("g"), "join": lambda: node.join("g"),
        "subscribe": lambda: node.subscribe("a.>"), "start": node.start, "run": node.run,
        "rpc": lambda: node.rpc("later")(print), "member": lambda: node.member("g")(print),
    }
"""


def output(run_script: Run, mesh_name: str, text: str) -> list[str]:
    """The lines that a program prints; it must end by itself, well and without a complaint."""
    script = run_script(HEAD + VERBS + textwrap.dedent(text), mesh_name)
    assert script.wait(within=ENDS_WITHIN) == 0, script.errors
    assert script.errors == ""
    assert script.process.stdout is not None
    return script.process.stdout.read().splitlines()


def test_every_verb_of_a_node_says_in_the_child_that_there_was_a_fork(
    run_script: Run, mesh_name: str
) -> None:
    lines = output(
        run_script,
        mesh_name,
        """
        peer = make("peer").start()
        node = make().start()
        node.rpc("add")(lambda a, b: a + b)
        node.wait_for("peer")
        subscription, watch = node.subscribe("a.>"), node.watch()
        node.publish("a.b", 1)  # in the child it must not come as well

        def child():
            streams = {"get": subscription.get, "next": lambda: next(subscription),
                       "watch": lambda: next(watch)}
            print(wrong(verbs(node)), wrong(verbs(node.aio)), wrong(streams))
            print(outcome(node.aio.close), outcome(subscription.close), outcome(watch.close),
                  outcome(node.close), threading.active_count(), flush=True)
            sys.exit()

        def forks():
            # Whether it ends as a program or at once.
            return fork(child), fork(lambda: os._exit(0))

        print(*forks(), subscription.get(timeout=5).data, peer.call("calc.add", 1, 2))
        print(node.counters(), peer.counters(), node.peers()[0].state, peer.peers()[0].state)
        node.close()
        peer.close()
        """,
    )
    assert lines == [
        "{} {} {}",
        "returned returned returned returned 1",
        "0 0 1 3",
        "{} {} alive alive",
    ]


def test_every_verb_of_an_async_node_says_in_the_child_that_there_was_a_fork(
    run_script: Run, mesh_name: str
) -> None:
    lines = output(
        run_script,
        mesh_name,
        """
        async def main():
            peer = await make_async("peer").start()
            node = await make_async().start()
            node.rpc("add")(lambda a, b: a + b)
            await node.wait_for("peer")
            subscription, watch = await node.subscribe("a.>"), node.watch()
            later = node.subscribe("b")
            node.publish("a.b", 1)

            def child():
                streams = {"get": subscription.get, "next": subscription.__anext__,
                           "watch": watch.__anext__, "begin": later.begin}
                print(wrong(verbs(node)), wrong(streams))
                print(outcome(node.close), outcome(subscription.close), outcome(watch.close),
                      outcome(lambda: node.__aexit__(None, None, None)), flush=True)
                os._exit(0)

            print(fork(child), (await subscription.get(5)).data, await peer.call("calc.add", 1, 2))
            print(node.counters(), peer.counters(), node.peers()[0].state, peer.peers()[0].state)
            await node.close()
            await peer.close()
        asyncio.run(main())
        """,
    )
    assert lines == ["{} {}", "returned returned returned returned", "0 1 3", "{} {} alive alive"]


def test_a_child_that_comes_back_from_a_handler_ends(run_script: Run, mesh_name: str) -> None:
    lines = output(
        run_script,
        mesh_name,
        """
        node = make()

        @node.rpc
        def plain():
            return fork(lambda: None) if os.getpid() == parent else None

        @node.rpc
        async def on_loop():
            pid = os.fork()
            if pid == 0:
                signal.alarm(20)
                return None
            return (await asyncio.to_thread(os.waitpid, pid, 0))[1]

        parent = os.getpid()
        node.start()
        calc = node.service("calc", timeout=30)
        print(calc.plain(), calc.on_loop(), calc.plain(), calc.on_loop())
        node.close()
        """,
    )
    assert lines == ["0 0 0 0"]


def test_a_forked_worker_of_a_service_takes_sigterm(run_script: Run, mesh_name: str) -> None:
    lines = output(
        run_script,
        mesh_name,
        """
        def work(ready):
            ready.send(1)
            signal.alarm(20)
            while True:
                time.sleep(1)

        node = make()

        @node.rpc
        def fork_worker():
            ours, theirs = context.Pipe()
            worker = context.Process(target=work, args=(theirs,))
            worker.start()
            ours.recv()
            worker.terminate()
            worker.join(30)
            return worker.exitcode

        def use():
            with make("user") as user:
                print(user.service("calc", timeout=30, wait=20).fork_worker(), flush=True)
            os.kill(os.getpid(), signal.SIGTERM)

        context = multiprocessing.get_context("fork")
        user = threading.Thread(target=use)
        user.start()
        node.run()
        user.join()
        """,
    )
    assert lines == ["-15"]


@pytest.mark.parametrize("face", ["Node", "AsyncNode"])
def test_a_node_constructed_before_forks_is_another_one_in_each_child(
    run_script: Run, mesh_name: str, face: str
) -> None:
    lines = output(
        run_script,
        mesh_name,
        """
        node = make("worker") if FACE == "Node" else make_async("worker")
        node.rpc("pid")(os.getpid)

        def work():
            if FACE == "Node":
                node.run()
            else:
                asyncio.run(node.run())

        context = multiprocessing.get_context("fork")
        workers = [context.Process(target=work) for _ in range(2)]
        for worker in workers:
            worker.start()
        with make("eye") as eye:
            found = eye.wait_for("worker", count=2, timeout=30)
            pids = {eye.service("worker", peer=peer).pid() for peer in found}
            print(pids == {worker.pid for worker in workers})
            print(len({node.id, *(peer.id for peer in found)}))
            print(len({peer.instance for peer in found}), {peer.name for peer in found})
            for worker in workers:
                worker.terminate()
                worker.join(30)
            print([worker.exitcode for worker in workers])
        """.replace("FACE", repr(face)),
    )
    assert lines == ["True", "3", "2 {'worker'}", "[0, 0]"]


def test_a_node_works_in_a_spawned_and_in_a_forked_process(run_script: Run, mesh_name: str) -> None:
    lines = output(
        run_script,
        mesh_name,
        """
        node = make().start()
        node.rpc("add")(lambda a, b: a + b)
        code = "import mesh, sys; n = mesh.Node(mesh=sys.argv[1], discovery=('local',)); "
        code += "n.start(); print(n.service('calc', wait=20).add(1, 2), flush=True); n.close()"

        def work():
            with make("worker") as own:
                print(own.service("calc", wait=20).add(1, 2), flush=True)

        worker = multiprocessing.get_context("fork").Process(target=work)
        worker.start()
        worker.join(30)
        print(worker.exitcode)
        text = code.replace("sys.argv[1]", repr(sys.argv[1]))
        spawned = multiprocessing.get_context("spawn").Process(target=exec, args=(text,))
        spawned.start()
        spawned.join(30)
        print(spawned.exitcode)
        node.close()
        """,
    )
    assert lines == ["3", "0", "3", "0"]
