"""``meshctl`` run inside the test's own process: a node and a mesh, but no interpreter to start.

For what is said and how it ends. What signals, terminals and pipes do needs a process of its own:
``tests.net.test_cli.Meshctl``.
"""

from __future__ import annotations

import io
import json
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from mesh.cli import main
from mesh.cli.options import Options

__all__ = ["Inside", "Run", "inside", "without_multicast"]


@dataclass
class Run:
    """How a run ended, and what it wrote."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def lines(self) -> list[Any]:
        """A JSON document per line."""
        return [json.loads(line) for line in self.out.splitlines()]


Inside = Callable[..., Run]


@pytest.fixture
def without_multicast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let its nodes find others as those of the tests do, by rendezvous: that halves a run."""
    settings = Options.settings
    monkeypatch.setattr(
        Options, "settings", lambda options: settings(options) | {"discovery": ("local",)}
    )


@pytest.fixture
def inside(
    mesh_name: str,
    without_multicast: None,
    monkeypatch: pytest.MonkeyPatch,
    capfdbinary: pytest.CaptureFixture[bytes],
) -> Iterator[Inside]:
    """Runs ``meshctl`` in this test's mesh; ``stdin`` are the bytes that it can read, and keywords
    are variables of its environment."""
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    monkeypatch.setenv("MESH_NAME", mesh_name)

    def run(*arguments: str, stdin: bytes = b"", **environment: str) -> Run:
        capfdbinary.readouterr()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
            for name, value in environment.items():
                patch.setenv(name, value)
            code = main(arguments)
        out, err = capfdbinary.readouterr()
        return Run(code, out.decode(errors="surrogateescape"), err.decode())

    yield run
    for number, handler in kept.items():
        signal.signal(number, handler)
