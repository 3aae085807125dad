"""Metrics and health by HTTP, on real sockets: what is served, to whom, and what cannot hurt it."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text

import mesh
from mesh.metrics.exporter import DEADLINE
from mesh.metrics.server import MAX_CONNECTIONS, MAX_REQUEST_BYTES
from tests.net.processes import PROCESS_START, Script, until

Make = Callable[..., mesh.Node]

PATIENCE = 20.0


def fetch(
    address: str, path: str, method: str = "GET", **headers: str
) -> tuple[http.client.HTTPResponse, bytes]:
    connection = http.client.HTTPConnection(address, timeout=PATIENCE)
    with contextlib.closing(connection):
        connection.request(method, path, headers=headers)
        response = connection.getresponse()
        return response, response.read()


def raw(address: str, sent: bytes) -> bytes:
    """What comes back until the connection ends."""
    with connect(address) as connection:
        connection.sendall(sent)
        with contextlib.suppress(ConnectionResetError):
            return b"".join(iter(lambda: connection.recv(65536), b""))
    return b""


def connect(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    return socket.create_connection((host, int(port)), timeout=PATIENCE)


def has_ended(connection: socket.socket) -> bool:
    """Whether the other side has closed it."""
    connection.setblocking(False)
    try:
        return not connection.recv(1)
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True


def samples(text: str) -> dict[tuple[str, str], float]:
    """The values of what has no labels but mesh and node, by name and node."""
    return {
        (sample.name, sample.labels["node"]): sample.value
        for family in read_text(text)
        for sample in family.samples
        if set(sample.labels) == {"mesh", "node"}
    }


def scrapers() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith("mesh-metrics")]


@pytest.fixture
def served(make_node: Make) -> mesh.Node:
    return make_node("calc", metrics_port=0).start()


def place(node: mesh.Node) -> str:
    address = node.metrics_address
    assert address is not None
    return address


def test_a_scrape_can_be_read_in_both_formats(served: mesh.Node) -> None:
    response, body = fetch(place(served), "/metrics")
    assert response.status == 200
    assert response.headers["Content-Type"].startswith("text/plain; version=")
    assert samples(body.decode())["mesh_up", "calc"] == 1
    assert b"\nprocess_open_fds " in body
    response, body = fetch(
        place(served), "/metrics?x=1", Accept="application/openmetrics-text; version=1.0.0"
    )
    assert response.headers["Content-Type"].startswith("application/openmetrics-text")
    assert {f.name for f in read_openmetrics(body.decode())} > {"mesh_up", "mesh_bad_frames"}


@pytest.mark.parametrize("version", ["1.x", "", "abc", "1.²", "-1", "1.0.0; escaping=?"])
def test_a_format_of_no_version_is_answered_all_the_same(served: mesh.Node, version: str) -> None:
    for kind in ("application/openmetrics-text", "text/plain"):
        accept = f"Accept: {kind}; version={version}\r\n"
        answer = raw(place(served), f"GET /metrics HTTP/1.1\r\n{accept}\r\n".encode("latin-1"))
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert b"mesh_up" in answer


def test_calls_are_measured_from_the_start_when_metrics_are_on(
    served: mesh.Node, make_node: Make
) -> None:
    served.rpc("add")(lambda a, b: a + b)
    shop = make_node("shop").start()
    shop.wait_for("calc")
    assert shop.call("calc.add", 1, 2) == 3
    _, body = fetch(place(served), "/metrics")
    line = 'mesh_calls_served_total{mesh="%s",method="calc.add",node="calc",result="succeeded"} 1.0'
    assert line % served.mesh in body.decode()


def test_probes_say_how_it_is(served: mesh.Node) -> None:
    for path in ("/healthz", "/readyz"):
        response, body = fetch(place(served), path)
        said = json.loads(body)
        assert (response.status, said["status"]) == (200, "ready")
        assert said["node"] == f"calc/{served.id[:8]}"
    served.drain()
    response, body = fetch(place(served), "/readyz")
    assert (response.status, json.loads(body)["problems"]) == (503, ["draining"])
    assert fetch(place(served), "/healthz")[0].status == 200


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", b"404"),
        (b"GET /metrics/ HTTP/1.1\r\n\r\n", b"404"),
        (b"POST /metrics HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", b"405"),
        (b"BREW /metrics HTTP/1.1\r\n\r\n", b"405"),
        (b"GET /metrics HTTP/2\r\n\r\n", b"400"),
        (b"\x16\x03\x01\x02\x00\x01\r\n\r\n", b"400"),
        (b"GET /metrics HTTP/1.1\r\nX: " + b"x" * MAX_REQUEST_BYTES + b"\r\n\r\n", b"431"),
        (b"\xff" * 100 + b"\r\n\r\n", b"400"),
    ],
)
def test_what_is_no_request_for_these_gets_a_status(
    served: mesh.Node, request_: bytes, status: bytes
) -> None:
    answer = raw(place(served), request_)
    assert answer.startswith(b"HTTP/1.1 " + status)
    assert answer.endswith(b"\n")


def test_head_is_get_without_the_body(served: mesh.Node) -> None:
    response, body = fetch(place(served), "/healthz", "HEAD")
    assert (response.status, body) == (200, b"")
    assert int(response.headers["Content-Length"]) > 0


def test_whoever_holds_connections_open_delays_nobody(served: mesh.Node) -> None:
    held = [connect(place(served)) for _ in range(3 * MAX_CONNECTIONS)]
    try:
        for connection in held:
            with contextlib.suppress(OSError):  # it has made room
                connection.sendall(b"GET /metr")
        began = time.monotonic()
        assert fetch(place(served), "/metrics")[0].status == 200
        assert time.monotonic() - began < DEADLINE
        assert len(scrapers()) == 1
        # The oldest made room.
        until(lambda: sum(map(has_ended, held)) >= 2 * MAX_CONNECTIONS, PATIENCE)
        assert not has_ended(held[-1])
    finally:
        for connection in held:
            connection.close()


def test_a_blocked_loop_is_told_within_the_deadline(served: mesh.Node) -> None:
    entered, leave = threading.Event(), threading.Event()

    @served.rpc(inline=True)
    def block() -> None:
        entered.set()
        leave.wait(PATIENCE)

    answers: dict[str, Any] = {}

    def ask(path: str) -> None:
        response, body = fetch(place(served), path)
        answers[path] = response.status, body, time.monotonic()

    def ask_node() -> None:
        answers["health"] = served.health()

    calling = threading.Thread(target=lambda: served.call("calc.block"))
    paths = ("/metrics", "/healthz", "/readyz")
    asking = [threading.Thread(target=ask, args=(path,)) for path in paths]
    asking.append(threading.Thread(target=ask_node))
    calling.start()
    assert entered.wait(PATIENCE)
    began = time.monotonic()
    for thread in asking:
        thread.start()
    for thread in asking:
        thread.join(PATIENCE)
    leave.set()
    calling.join(PATIENCE)
    status, body, at = answers["/metrics"]
    assert (status, samples(body.decode())["mesh_up", "calc"]) == (200, 0)
    assert DEADLINE <= at - began < 2 * DEADLINE
    for path in ("/healthz", "/readyz"):
        status, body, _ = answers[path]
        assert (status, json.loads(body)["status"]) == (503, "blocked")
    assert not answers["health"].is_live
    assert samples(fetch(place(served), "/metrics")[1].decode())["mesh_up", "calc"] == 1


def test_close_frees_the_port_and_the_thread_at_once(served: mesh.Node) -> None:
    host, _, port = place(served).rpartition(":")
    held = [connect(place(served)) for _ in range(4)]
    began = time.monotonic()
    served.close()
    assert time.monotonic() - began < 1.0
    assert scrapers() == []
    with socket.create_server((host, int(port))):
        pass
    for connection in held:
        connection.close()
    with pytest.raises(mesh.NodeClosed):
        served.metrics_address


def test_a_port_that_is_taken_fails_the_start_and_leaves_nothing(make_node: Make) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        node = make_node("calc", metrics_port=port)
        with pytest.raises(OSError, match=f"metrics_port: cannot listen on 127.0.0.1:{port}"):
            node.start()
    assert scrapers() == []


def test_without_a_port_there_is_no_thread_and_health_is_there(make_node: Make) -> None:
    node = make_node("calc").start()
    assert node.metrics_address is None
    assert scrapers() == []
    assert node.health().is_ready


def test_nodes_of_one_process_share_a_registry(make_node: Make) -> None:
    registry = CollectorRegistry()
    calc, shop = make_node("calc"), make_node("shop")
    calc.export_metrics(registry)
    assert samples(generate_latest(registry).decode()) == {}
    shop.export_metrics(registry)
    shop.export_metrics(registry)
    calc.start()
    shop.start()
    text = generate_latest(registry).decode()
    found = samples(text)
    assert found["mesh_up", "calc"] == found["mesh_up", "shop"] == 1
    assert text.count("# TYPE mesh_up gauge") == 1
    calc.close()
    found = samples(generate_latest(registry).decode())
    assert {node for _, node in found} == {"shop"}


def test_a_program_may_scrape_on_the_nodes_own_loop(make_async: Any) -> None:
    async def scrape() -> tuple[float, float]:
        registry = CollectorRegistry()
        async with make_async("calc") as node:
            node.export_metrics(registry)
            began = time.monotonic()
            up = samples(generate_latest(registry).decode())["mesh_up", "calc"]
            return up, time.monotonic() - began

    up, took = asyncio.run(scrape())
    assert up == 1
    assert took < DEADLINE


FORKING = """
import os, socket, sys, urllib.request
import mesh

node = mesh.Node("calc", mesh=sys.argv[1], discovery=("local",), metrics_port=0).start()
port = int(node.metrics_address.rpartition(":")[2])
r, w = os.pipe()
child = os.fork()
if not child:
    os.read(r, 1)  # the parent has closed its node
    with mesh.Node("calc", mesh=sys.argv[1], discovery=("local",), metrics_port=port) as own:
        url = f"http://{own.metrics_address}/healthz"
        print("child", urllib.request.urlopen(url, timeout=10).status, flush=True)
    os._exit(0)
url = f"http://{node.metrics_address}/healthz"
print("parent", urllib.request.urlopen(url, timeout=10).status, flush=True)
node.close()
socket.create_server(("127.0.0.1", port)).close()  # the child does not keep it
os.write(w, b"x")
os.waitpid(child, 0)
"""


def test_a_forked_child_holds_no_port_and_has_metrics_of_its_own(
    run_script: Callable[..., Script], mesh_name: str
) -> None:
    script = run_script(FORKING, mesh_name)
    assert script.wait(PROCESS_START) == 0, script.errors
    assert script.process.stdout is not None
    assert script.process.stdout.read().splitlines() == ["parent 200", "child 200"]


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_prometheus_own_tool_finds_nothing_to_complain_of(served: mesh.Node) -> None:
    _, body = fetch(place(served), "/metrics")
    own = b"".join(line for line in body.splitlines(True) if b"mesh_" in line)
    done = subprocess.run(
        ["promtool", "check", "metrics"], input=own, capture_output=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, b"")
