"""``docs/embedding.md``, executed: each program in the surroundings that its section is about.

What needs a package or a program that is not a dependency runs where that is installed; the same
samples run on the standard library always.
"""

from __future__ import annotations

import configparser
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import mesh
from mesh.serving import DRAIN_TIMEOUT
from tests.net.processes import until
from tests.test_readme import FENCE, PROGRAM_END, ROOT, Tour, Transcript, programs, transcripts

CLOSES_WITHIN = 3
"""Seconds from the end of a drain to that of ``run``, as the page says."""

PAGE = (ROOT / "docs/embedding.md").read_text(encoding="utf-8")

ASGI_SERVER = """
import asyncio, importlib, sys
app = importlib.import_module(sys.argv[1]).app

async def serve():
    "The lifespan, and within it one request, as the ASGI specification has it."
    to_app, from_app = asyncio.Queue(), asyncio.Queue()
    scope = {"type": "lifespan", "asgi": {}, "state": {}}
    life = asyncio.create_task(app(scope, to_app.get, from_app.put))
    await to_app.put({"type": "lifespan.startup"})
    print((await from_app.get())["type"])
    scope = {"type": "http", "method": "GET", "path": "/", "headers": [], "query_string": b""}
    requests, replies = asyncio.Queue(), asyncio.Queue()
    await requests.put({"type": "http.request", "body": b"", "more_body": False})
    await app(scope, requests.get, replies.put)
    print((await replies.get())["status"], (await replies.get())["body"].decode().strip())
    await to_app.put({"type": "lifespan.shutdown"})
    print((await from_app.get())["type"])
    await life

asyncio.run(serve())
"""

THREADED_SERVER = """
import threading, urllib.request
from concurrent.futures import ThreadPoolExecutor
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer
import wsgi_app

class Server(ThreadingMixIn, WSGIServer):
    pass

class Quiet(WSGIRequestHandler):
    def log_message(self, *args):
        pass

def get(number):
    return urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/").read()

with Server(("127.0.0.1", 0), Quiet) as server:
    server.set_app(wsgi_app.app)
    serving = threading.Thread(target=server.serve_forever)
    serving.start()
    with ThreadPoolExecutor(8) as users:
        print(set(users.map(get, range(40))))
    server.shutdown()
    serving.join()
"""

PREFORK_SERVER = """
import os, signal, sys, time
from wsgiref.simple_server import WSGIServer
import wsgi_app

def work():
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
    replies = wsgi_app.app({}, lambda status, headers: None)
    print(wsgi_app.node.id, replies, flush=True)
    time.sleep(60)

workers = []
for _ in range(2):
    pid = os.fork()
    if pid == 0:
        work()
    workers.append(pid)
sys.stdin.readline()
for pid in workers:
    os.kill(pid, signal.SIGTERM)
print([os.waitpid(pid, 0)[1] for pid in workers])
"""

CELL = """
import ast, asyncio, sys

async def kernel():
    "What a kernel does with a cell: top-level await, on a loop that runs."
    code = compile(open(sys.argv[1]).read(), sys.argv[1], "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    pending = eval(code, {})
    if pending is not None:
        await pending

asyncio.run(kernel())
"""

NOTEBOOK = """
import sys
import nbformat
from nbclient import NotebookClient
cell = nbformat.v4.new_code_cell(open(sys.argv[1]).read())
NotebookClient(nbformat.v4.new_notebook(cells=[cell]), timeout=60).execute()
print(cell.outputs[0]["text"].strip())
"""

STUCK = """
import asyncio, time, mesh
node = mesh.Node("stuck")

@node.subscriber("go")
def sleep(message):
    print("in a thread")
    time.sleep(120)

@node.subscriber("go")
async def stubborn(message):
    print("on the loop")
    while True:
        try:
            await asyncio.sleep(120)
        except asyncio.CancelledError:
            pass

node.run(drain=1)
"""


@pytest.fixture
def tour(tmp_path: Path) -> Iterator[Tour]:
    """The page's programs in a folder, and its service up."""
    tour = Tour(tmp_path, PAGE)
    try:
        tour.serve(Transcript("calc.py", ""))
        yield tour
        tour.finish()
    finally:
        tour.close()


def needs(*packages: str) -> None:
    for package in packages:
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed")


def files(language: str) -> dict[str, str]:
    """File name -> text of the page's blocks of a language."""
    found = [body for name, body in FENCE.findall(PAGE) if name == language]
    return {body.partition("\n")[0].removeprefix("# "): body for body in found}


def run(tour: Tour, *arguments: str) -> list[str]:
    terminal = tour.open(list(arguments))
    assert terminal.wait() == 0, terminal.errors
    return terminal.output.splitlines()


def test_each_program_of_the_page_is_run_here() -> None:
    shown = {transcript.file for transcript in transcripts(PAGE)}
    here = {"calc.py", "asgi_app.py", "starlette_app.py", "wsgi_app.py", "gunicorn.conf.py"}
    assert set(programs(PAGE)) == shown | here | {"cell_async.py", "cell_blocking.py"}


def test_the_scripts_print_what_they_show(tour: Tour) -> None:
    for transcript in transcripts(PAGE):
        tour.run(transcript)


def test_run_ends_by_sigterm_whatever_the_handlers_do(tour: Tour) -> None:
    service = tour.open(["-c", STUCK])
    tour.eye.wait_for("stuck", timeout=PROGRAM_END)
    assert tour.eye.publish("go") == 1
    service.wait_for_lines(2)
    assert service.stop() == 0, service.errors
    assert "not drained in 1 s" in service.errors
    assert "the handler of 'go' runs" in service.errors
    assert "lost at close" in service.errors
    until(lambda: [p.state for p in tour.eye.peers(all=True) if p.name == "stuck"] == ["left"])


def test_run_outside_the_main_thread_ends_by_close(tour: Tour) -> None:
    node = mesh.Node("aside", mesh=tour.mesh)
    running = threading.Thread(target=node.run)
    running.start()
    tour.eye.wait_for("aside", timeout=PROGRAM_END)
    node.close()
    running.join(PROGRAM_END)
    assert not running.is_alive()


def test_a_node_that_is_closed_while_it_starts_ends_run_and_one_that_was_closed_has_none() -> None:
    node = mesh.Node("aside", discovery=())
    start = node.start

    def close_then_start() -> mesh.Node:
        node.close()
        return start()

    node.start = close_then_start  # type: ignore[method-assign]
    node.run()
    with pytest.raises(mesh.NodeClosed):
        node.run()


@pytest.mark.parametrize("module", ["asgi_app", "starlette_app"])
def test_an_asgi_app_has_a_node_for_its_lifespan(tour: Tour, module: str) -> None:
    if module == "starlette_app":
        needs("starlette")
    lines = run(tour, "-c", ASGI_SERVER, module)
    assert lines == ["lifespan.startup.complete", "200 5", "lifespan.shutdown.complete"]


@pytest.mark.parametrize("module", ["asgi_app", "starlette_app"])
def test_uvicorn_closes_the_node_when_it_is_stopped(tour: Tour, module: str) -> None:
    needs("uvicorn", "starlette")
    server = tour.open(["-m", "uvicorn", "--port", "0", f"{module}:app"])
    tour.eye.wait_for("web", timeout=PROGRAM_END)
    until(lambda: "startup complete" in server.errors, PROGRAM_END)
    server.stop()  # uvicorn ends by the signal that it got
    until(lambda: [p.state for p in tour.eye.peers(all=True) if p.name == "web"] == ["left"])


def test_a_wsgi_app_shares_its_node_among_threads(tour: Tour) -> None:
    assert run(tour, "-c", THREADED_SERVER) == [r"{b'5\n'}"]


def test_a_wsgi_app_has_a_node_of_its_own_in_each_forked_worker(tour: Tour) -> None:
    ready, go = os.pipe()
    try:
        server = tour.open(["-c", PREFORK_SERVER], stdin=ready)
        server.wait_for_lines(2)
        workers = [line.split(" ", 1) for line in server.output.splitlines()]
        assert {reply for _, reply in workers} == {r"[b'5\n']"}
        known = {peer.id for peer in tour.eye.wait_for("web", count=2, timeout=PROGRAM_END)}
        assert {id for id, _ in workers} == known
    finally:
        os.close(go)
        os.close(ready)
    assert server.wait() == 0, server.errors
    assert server.output.splitlines()[-1] == "[0, 0]"
    assert {p.state for p in tour.eye.peers(all=True) if p.name == "web"} == {"left"}


@pytest.mark.parametrize("options", [[], ["--preload", "-k", "gthread", "--threads", "4"]])
def test_gunicorn_starts_a_node_in_each_worker(tour: Tour, options: list[str]) -> None:
    needs("gunicorn")
    arguments = ["-w", "2", "-b", "127.0.0.1:0", "-c", "gunicorn.conf.py", *options]
    server = tour.open(["-m", "gunicorn", *arguments, "wsgi_app:app"])
    tour.eye.wait_for("web", count=2, timeout=PROGRAM_END)
    found = re.search(r"Listening at: http://([\d.:]+)", server.errors)
    assert found
    fetch = f"import urllib.request as u; print(u.urlopen('http://{found[1]}/').read())"
    assert run(tour, "-c", fetch) == [r"b'5\n'"]
    assert server.stop() == 0, server.errors
    until(lambda: {p.state for p in tour.eye.peers(all=True) if p.name == "web"} == {"left"})


@pytest.mark.parametrize("cell", ["cell_async.py", "cell_blocking.py"])
def test_a_cell_runs_on_a_running_loop(tour: Tour, cell: str) -> None:
    assert run(tour, "-c", CELL, cell) == ["5"]


@pytest.mark.parametrize("cell", ["cell_async.py", "cell_blocking.py"])
def test_a_cell_runs_in_a_notebook(tour: Tour, cell: str) -> None:
    needs("nbclient", "nbformat", "ipykernel")
    assert run(tour, "-c", NOTEBOOK, cell) == ["5"]


def unit() -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(files("ini")["calc.service"])
    return parser


def test_the_unit_gives_run_the_time_it_needs() -> None:
    service = unit()["Service"]
    assert service["KillSignal"] == signal.SIGTERM.name
    assert int(service["TimeoutStopSec"]) >= DRAIN_TIMEOUT + CLOSES_WITHIN
    assert service["Restart"] == "on-failure"


def test_systemd_finds_nothing_wrong_with_the_unit(tmp_path: Path) -> None:
    verify = shutil.which("systemd-analyze")
    if verify is None:
        pytest.skip("systemd-analyze is not installed")
    text = files("ini")["calc.service"]
    path = tmp_path / "calc.service"
    path.write_text(text.replace("/opt/calc/.venv/bin/python", sys.executable), encoding="utf-8")
    found = subprocess.run(
        [verify, "verify", str(path)], capture_output=True, text=True, timeout=PROGRAM_END
    )
    assert (found.returncode, found.stderr) == (0, "")


def catches(process: int, number: signal.Signals) -> bool:
    """Whether a process has a handler for a signal."""
    status = Path(f"/proc/{process}/status").read_text(encoding="ascii")
    caught = int(status.partition("SigCgt:")[2].split(maxsplit=1)[0], 16)
    return bool(caught >> (number - 1) & 1)


def test_process_1_of_a_namespace_ends_by_sigterm_with_exit_code_0(tmp_path: Path) -> None:
    apart = ["unshare", "--net", "--pid", "--fork", "--mount-proc", "--kill-child"]
    may = shutil.which("unshare") and subprocess.run([*apart, "true"], capture_output=True)
    if not may or may.returncode != 0:
        pytest.skip("this user may not make network and process namespaces")
    text = programs(PAGE)["calc.py"].replace(
        "node.run()", "print(os.getpid(), node.start().name, flush=True)\nnode.run()"
    )
    (tmp_path / "calc.py").write_text(text, encoding="utf-8")
    outside = subprocess.Popen(
        [*apart, sys.executable, "calc.py"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    with outside:
        try:
            assert outside.stdout is not None
            assert outside.stdout.readline() == "1 calc\n"
            children = Path(f"/proc/{outside.pid}/task/{outside.pid}/children")
            first = int(children.read_text())
            # The kernel drops what process 1 does not catch, and run() begins after start().
            until(lambda: catches(first, signal.SIGTERM), PROGRAM_END)
            os.kill(first, signal.SIGTERM)
            assert outside.wait(PROGRAM_END) == 0
        finally:
            outside.kill()
