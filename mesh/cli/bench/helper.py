"""The program of one subscriber or worker: ``python -m mesh.cli.bench.helper KIND RUN``.

It belongs to a ``mesh.cli.fleet``: it prints its id once it is ready, and ends when its standard
input does, so also when the bench is killed. The size of the messages and the settings of its node,
a key among them, are in the environment: others can read the arguments of a process.
"""

from __future__ import annotations

import json
import os
import signal
import sys

from mesh.cli.bench.part import KINDS, Part

__all__ = ["VARIABLE", "main"]

VARIABLE = "_MESHCTL_BENCH"
"""JSON: ``[size, settings]``."""


def main(kind: str, run: str) -> None:
    """Take part until standard input ends."""
    # Ctrl-C in the terminal reaches every process there; stopping this one is the bench's task.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    size, settings = json.loads(os.environ[VARIABLE])
    part = Part(KINDS[KINDS.index(kind)], run, size, settings)
    with part.node as node:
        os.write(sys.stdout.fileno(), f"{json.dumps({'ready': node.id})}\n".encode())
        for _ in sys.stdin.buffer:
            continue


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
