"""``import mesh`` is cheap: what not every node needs is imported when it is needed.

What is loaded is looked at, not how long it takes: that is the machine's.
"""

from __future__ import annotations

import subprocess
import sys

HEAVY = (
    "click", "difflib", "email", "http", "importlib.metadata", "mesh.queues.faces",
    "mesh.queues.registry", "mesh.stores", "multiprocessing", "nacl", "rich", "sqlite3", "tempfile",
    "tomllib", "unittest", "uvloop", "zeroconf", "zmq.asyncio",
)  # fmt: skip
"""For commands, slips in names, identities, queues, tables, policies, ``mesh.Node``'s loop and
mDNS."""


def test_importing_mesh_loads_nothing_that_only_some_nodes_need() -> None:
    script = "import mesh, sys; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    loaded = done.stdout.split()
    assert "mesh.engine.engine" in loaded
    assert set(HEAVY) & set(loaded) == set()
