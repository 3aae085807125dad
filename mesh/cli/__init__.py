"""``meshctl``: the mesh from a terminal.

It uses the public API only, ``import mesh`` (and, to explain owners, the arithmetic of the ring),
and joins as an observer: it sees, calls and publishes, and is never given work (``sub --group``
is, and so are the nodes that ``bench`` brings). Tables and plain text are for people, ``--json``
for programs (one document, or one per line for a stream). Errors are one line on stderr.

=====  ================================================================
code   meaning
=====  ================================================================
0      done; also when the reader of a pipe had enough
1      the operation failed
2      wrong usage: a bad option, name, key or address
130    Ctrl-C (and 143 SIGTERM), after a clean goodbye to the mesh
=====  ================================================================

``main`` imports the commands when it runs, so that importing this package stays cheap.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; ``arguments`` default to those of the process. Returns the exit code."""
    from mesh.cli.app import run

    return run(arguments)
