"""The layers, enforced: who may import what, how long modules are and what they are called.

The rules are about what a module's source imports, read with `ast`, so that a forbidden import is
found even inside a function; `if TYPE_CHECKING:` hides nothing. One exception: pure code gets its
randomness handed in and must name its type, so it may import the class `Random`, but not call it.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("discovery", "patterns", "mesh")
MAX_MODULE_LINES = 500
INTERPRETER_TIMEOUT_S = 60

PURE = (
    "patterns",
    "mesh.wire",
    "mesh.membership",
    "mesh.ring",
    "mesh.links",
    "mesh.engine",
    "mesh.plain",
)
"""Decide, and do no I/O: they run unchanged on virtual time."""

IMPURE = ("zmq", "asyncio", "threading", "socket", "time", "random", "zeroconf", "click", "rich")

RIM = ("mesh.transport", "mesh.security", "mesh.cli", "mesh.testing")
"""Where the I/O is. Importing it would bring in what pure code must not import itself."""

FORBIDDEN: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("discovery", ("mesh", "patterns")),
    ("patterns", ("mesh", "discovery")),
    *((layer, IMPURE + RIM) for layer in PURE),
    ("mesh.cli.bench.core", IMPURE),
    *((f"mesh.security.{name}", IMPURE) for name in ("identity", "rules", "policy")),
)
"""(layer, what it must not import)"""

RESERVED: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("zmq", ("mesh.transport", "mesh.security")),
    ("nacl", ("mesh.security",)),
    ("click", ("mesh.cli",)),
    ("rich", ("mesh.cli",)),
    ("opentelemetry", ("mesh.tracing",)),
    ("mesh.testing", ("mesh.testing",)),
)
"""(module, the only layers that may import it)"""


@dataclass(frozen=True)
class Import:
    """One import statement's target, dotted, with the imported name as its last part."""

    target: str
    line: int


def within(name: str, layer: str) -> bool:
    return name == layer or name.startswith(layer + ".")


def modules(root: Path) -> dict[str, Path]:
    """Dotted name -> file of every module of the packages under `root`."""
    found = {}
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(module: str, path: Path) -> Iterator[Import]:
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
    makes_random = any(
        isinstance(node, ast.Call) and ast.unparse(node.func) == "Random" for node in ast.walk(tree)
    )
    for node in ast.walk(tree):
        for target in targets(node, package):
            if target != "random.Random" or makes_random:
                yield Import(target, getattr(node, "lineno", 0))


def targets(node: ast.AST, package: str) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        base = node.module or ""
        if node.level:
            parents = package.split(".")
            parents = parents[: len(parents) - node.level + 1]
            base = ".".join([*parents, base] if base else parents)
        # Under another name its calls would not be seen, so the class counts as its module.
        return [
            base if base == "random" and alias.asname else f"{base}.{alias.name}"
            for alias in node.names
        ]
    if isinstance(node, ast.Call) and ast.unparse(node.func) in (
        "__import__",
        "import_module",
        "importlib.import_module",
    ):
        # A computed name cannot be checked: it counts as everything, so it is always refused.
        argument = node.args[0] if node.args else None
        is_literal = isinstance(argument, ast.Constant) and isinstance(argument.value, str)
        return [argument.value] if is_literal else ["*"]
    return []


def is_named(imported: Import, forbidden: str) -> bool:
    return imported.target == "*" or within(imported.target, forbidden)


def violations(root: Path) -> list[str]:
    """What breaks a rule under `root`, as "module:line imports target"."""
    found = []
    for module, path in modules(root).items():
        banned = {name for layer, names in FORBIDDEN if within(module, layer) for name in names} | {
            name for name, layers in RESERVED if not any(within(module, layer) for layer in layers)
        }
        for imported in imports(module, path):
            if any(is_named(imported, name) for name in banned):
                found.append(f"{module}:{imported.line} imports {imported.target}")
    return found


def misnamed(root: Path) -> list[str]:
    """Modules that, run from their own folder, would hide one of the standard library."""
    return [
        module
        for module, path in modules(root).items()
        if path.stem in sys.stdlib_module_names and not path.stem.startswith("__")
    ]


def too_long(root: Path) -> list[str]:
    return [
        module
        for module, path in modules(root).items()
        if len(path.read_text(encoding="utf-8").splitlines()) > MAX_MODULE_LINES
    ]


def test_no_module_breaks_the_layers() -> None:
    assert violations(ROOT) == []


def demo_imports() -> list[tuple[str, str]]:
    """(module, target) of every import in the demos."""
    return [
        (module, imported.target)
        for path in sorted((ROOT / "demos").rglob("*.py"))
        for module in [".".join(path.relative_to(ROOT).with_suffix("").parts)]
        for imported in imports(module, path)
    ]


def test_the_demos_use_the_public_api_only() -> None:
    found = demo_imports()
    assert ("demos.chat.session", "mesh") in found
    inside = ("mesh.", "discovery", "patterns")
    assert [pair for pair in found if pair[1].startswith(inside)] == []


def test_only_the_screen_of_the_chat_needs_textual() -> None:
    users = {module for module, target in demo_imports() if within(target, "textual")}
    assert users == {"demos.chat.app", "demos.chat.widgets"}


def test_no_module_is_too_long() -> None:
    assert too_long(ROOT) == []


def test_no_module_is_named_like_one_of_the_standard_library() -> None:
    assert misnamed(ROOT) == []


def test_every_module_of_the_packages_is_checked() -> None:
    checked = modules(ROOT)
    assert {"patterns.names", "patterns.subjects", "mesh.wire.codec", "mesh.wire.frames"} <= set(
        checked
    )
    files = {path for package in PACKAGES for path in (ROOT / package).rglob("*.py")}
    assert set(checked.values()) == files
    assert any(True for _ in imports("mesh.wire.codec", checked["mesh.wire.codec"]))


@pytest.mark.parametrize("layer", [layer for layer, _ in FORBIDDEN])
def test_every_layer_that_the_rules_name_is_there(layer: str) -> None:
    """A renamed layer must not slip out of the rules unseen."""
    assert any(within(module, layer) for module in modules(ROOT))


@pytest.mark.parametrize("package", PACKAGES)
def test_each_package_can_be_imported_first_and_alone(package: str) -> None:
    script = (
        f"import {package}, sys\n"
        f"others = {set(PACKAGES) - {package}!r} & set(sys.modules)\n"
        f"print(sorted(others))"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=INTERPRETER_TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    if package != "mesh":
        assert done.stdout.strip() == "[]"


# The checker itself, on planted trees


def planted(root: Path, files: dict[str, str]) -> Path:
    for name, source in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source, encoding="utf-8")
    return root


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("discovery/mdns.py", "import mesh"),
        ("discovery/mdns.py", "import mesh.wire.codec as c"),
        ("discovery/mdns.py", "from patterns import errors"),
        ("patterns/rpc.py", "from mesh.wire import codec"),
        ("patterns/rpc.py", "import discovery.hint"),
        ("patterns/rpc.py", "import os, time"),
        ("patterns/rpc.py", "from time import monotonic"),
        ("patterns/rpc.py", "def f():\n    import asyncio"),
        ("patterns/rpc.py", "import importlib\nimportlib.import_module('socket')"),
        ("patterns/rpc.py", "__import__('threading')"),
        ("patterns/rpc.py", "__import__(name)"),
        ("patterns/rpc.py", "import random"),
        ("patterns/rpc.py", "from random import Random\nsource = Random(1)"),
        ("patterns/rpc.py", "from random import Random, choice"),
        ("patterns/rpc.py", "from random import Random as R"),
        (
            "patterns/rpc.py",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from asyncio import Task",
        ),
        ("mesh/engine/core.py", "from ..transport import sockets"),
        ("mesh/engine/core.py", "from .. import cli"),
        ("mesh/engine/core.py", "from mesh import transport as t"),
        ("mesh/engine.py", "import zmq"),
        ("mesh/engine/__init__.py", "import zmq"),
        ("mesh/membership/table.py", "from threading import Lock"),
        ("mesh/links/window.py", "import socket"),
        ("mesh/ring.py", "import random"),
        ("mesh/wire/codec.py", "import zeroconf"),
        ("mesh/node.py", "import zmq.asyncio"),
        ("mesh/node.py", "import click"),
        ("mesh/transport/tcp.py", "from rich.table import Table"),
        ("mesh/client.py", "import rich"),
        ("mesh/aio.py", "from mesh.testing import SimMesh"),
        ("discovery/mdns.py", "import zmq"),
        ("mesh/cli/bench/core/schedule.py", "from time import monotonic_ns"),
    ],
)
def test_a_planted_violation_is_found(tmp_path: Path, name: str, source: str) -> None:
    root = planted(tmp_path, {name: source, "mesh/fine.py": "import asyncio"})
    assert len(violations(root)) == 1


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("discovery/mdns.py", "import asyncio, socket, zeroconf\nfrom . import hint"),
        ("patterns/rpc.py", "from patterns.errors import MeshError\nfrom .timeouts import x"),
        ("patterns/rpc.py", "from random import Random\ndef f(random: Random) -> None: ..."),
        ("patterns/rpc.py", "import timeit\nfrom . import time_units"),
        ("mesh/engine/core.py", "from mesh.wire import frames\nimport patterns, discovery"),
        ("mesh/transport/sockets.py", "import asyncio, zmq"),
        ("mesh/security.py", "import zmq.auth"),
        ("mesh/cli/main.py", "import click\nfrom rich.table import Table"),
        ("mesh/links_view.py", "import time"),
    ],
)
def test_what_the_layers_allow_is_not_reported(tmp_path: Path, name: str, source: str) -> None:
    assert violations(planted(tmp_path, {name: source})) == []


def test_planted_lengths_and_names_are_found(tmp_path: Path) -> None:
    root = planted(
        tmp_path,
        {
            "mesh/queue.py": "",
            "mesh/queues.py": "x = 1\n" * MAX_MODULE_LINES,
            "patterns/__init__.py": "",
            "patterns/long.py": "x = 1\n" * (MAX_MODULE_LINES + 1),
        },
    )
    assert misnamed(root) == ["mesh.queue"]
    assert too_long(root) == ["patterns.long"]
