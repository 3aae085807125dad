"""A simulated mesh on virtual time: whole nodes, and every fault, without a socket or a sleep.

The network, the clocks and the processes are simulated; engine, membership and patterns are those
of production. The same seed gives the same run, event by event. ``SimMesh`` is for tests of
services; see ``docs/testing.md``.
"""

from mesh.testing.simmesh import LeftBehind, SimMesh

__all__ = ["LeftBehind", "SimMesh"]
