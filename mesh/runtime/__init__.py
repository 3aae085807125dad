"""The engine on asyncio: its clock, its handler runner, and the way in from other threads."""

from mesh.runtime.clock import LoopClock
from mesh.runtime.forks import forget_in_child, started_before_fork
from mesh.runtime.loop_thread import LoopThread
from mesh.runtime.runner import LoopRunner
from mesh.runtime.threads import Gate, Handover, ThreadWaiter

__all__ = [
    "Gate",
    "Handover",
    "LoopClock",
    "LoopRunner",
    "LoopThread",
    "ThreadWaiter",
    "forget_in_child",
    "started_before_fork",
]
