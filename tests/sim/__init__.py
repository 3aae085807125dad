"""Whole engines on a simulated network and virtual time: no socket, no thread, no wall clock.

``Simulation`` is the way in. The same seed gives the same run, event by event.
"""

from tests.sim.simulation import SimNode, Simulation
from tests.sim.waiter import SimWaiter

__all__ = ["SimNode", "SimWaiter", "Simulation"]
