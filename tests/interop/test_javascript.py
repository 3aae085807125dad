"""Plain clients in JavaScript: Node.js with the ``zeromq`` package, which ships its binary.

They need what ``npm install`` puts in this folder, or a folder of packages that MESH_NODE_MODULES
names. Without that, or without Node.js, they are skipped; they install nothing.
"""

from __future__ import annotations

import json
import os
import queue
import re
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import mesh
from tests.net.processes import until

HERE = Path(__file__).parent
README = (HERE.parents[1] / "README.md").read_text(encoding="utf-8")
MODULES = Path(os.environ.get("MESH_NODE_MODULES") or HERE / "node_modules")
NODE = shutil.which("node")
PATIENCE = 20.0
"""Seconds for an answer, the start of Node.js included, on a machine under load."""


def missing() -> str:
    """Why these tests cannot run here; empty if they can."""
    if NODE is None:
        return "Node.js (node) is not installed"
    for name in ("zeromq", "@msgpack/msgpack"):
        if not (MODULES / name).is_dir():
            return f"no package {name} in {MODULES}: run 'npm install' in tests/interop"
    return ""


pytestmark = pytest.mark.skipif(bool(missing()), reason=missing())

Make = Callable[..., mesh.Node]


class JavaScript:
    """A program in Node.js; ``lines`` are what it prints."""

    def __init__(self, *arguments: str) -> None:
        assert NODE is not None
        self._process = subprocess.Popen(
            [NODE, *arguments],
            env=os.environ | {"NODE_PATH": str(MODULES)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line.rstrip("\n"))

    def line(self) -> str:
        try:
            return self._lines.get(timeout=PATIENCE)
        except queue.Empty:
            raise AssertionError(f"nothing was printed within {PATIENCE} s") from None

    def ask(self, *command: Any) -> Any:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        return json.loads(self.line())

    def end(self) -> None:
        self._process.kill()
        self._process.wait()
        self._reader.join()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()


@pytest.fixture
def start_js() -> Iterator[Callable[..., JavaScript]]:
    programs: list[JavaScript] = []

    def start(*arguments: str) -> JavaScript:
        programs.append(JavaScript(*arguments))
        return programs[-1]

    yield start
    for program in programs:
        program.end()


def pair(make_node: Make, **settings: Any) -> tuple[mesh.Node, mesh.Node, mesh.PlainEndpoints]:
    """A gateway, and a node that serves and publishes."""
    gateway = make_node("gateway", plain=True, **settings).start()
    calc = make_node("calc", **settings)
    calc.rpc("add", inline=True)(lambda a, b=1: a + b)
    calc.rpc("echo", inline=True)(lambda value: value)
    calc.start()
    gateway.wait_for("calc")
    assert gateway.plain is not None
    return gateway, calc, gateway.plain


@pytest.mark.parametrize("key", [None, mesh.generate_key()], ids=["no key", "key"])
def test_a_client_in_javascript_calls_and_listens(
    make_node: Make, start_js: Callable[..., JavaScript], key: str | None
) -> None:
    gateway, calc, plain = pair(make_node, key=key, host="127.0.0.1")
    client = start_js(str(HERE / "client.js"))
    keys = mesh.curve_keys(key, gateway.mesh) if key else None
    client.ask("connect", plain.rpc, plain.pubsub, keys)

    assert client.ask("call", "calc.add", [2, 3], {}) == ["ok", 5]
    assert client.ask("call", "calc.add", [2], {"b": 40}) == ["ok", 42]
    value = {"text": "é", "list": [1, -1, 1.5, None, True], "map": {"": []}}
    assert client.ask("call", "calc.echo", [value], {}) == ["ok", value]
    status, text = client.ask("call", "calc.add", ["x"], {})
    assert (status, "TypeError" in text) == ("RemoteError", True)
    assert client.ask("call", "calc.add", [], {})[0] == "BadRequest"
    assert client.ask("call", "nope", [], {})[0] == "BadName"
    many = client.ask("many", "calc.add", [[number] for number in range(16)])
    assert many == [["ok", number + 1] for number in range(16)]

    client.ask("subscribe", "sensors.k")
    until(lambda: calc.publish("sensors.kitchen.temp", 21.5), what="the interest")
    calc.publish("sensors.hall", 1)
    calc.publish("sensors.kitchen", value)
    assert client.ask("next") == ["sensors.kitchen.temp", 21.5]
    assert client.ask("next") == ["sensors.kitchen", value]
    assert gateway.counters() == {}


def test_the_program_in_the_readme_prints_what_it_says(
    make_node: Make, start_js: Callable[..., JavaScript], tmp_path: Path
) -> None:
    _, calc, plain = pair(make_node)
    (program,) = re.findall(r"^```js\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)
    for shown, real in (("5556", plain.rpc), ("5557", plain.pubsub)):
        assert f"tcp://127.0.0.1:{shown}" in program
        program = program.replace(f"tcp://127.0.0.1:{shown}", real)
    path = tmp_path / "client.js"
    path.write_text(program, encoding="utf-8")
    client = start_js(str(path))
    assert client.line() == "ok 5"
    until(lambda: calc.publish("sensors.kitchen.temp", 21.5), within=PATIENCE, what="the interest")
    assert client.line() == "sensors.kitchen.temp 21.5"
