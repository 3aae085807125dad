"""The engine on asyncio: its clock, its handler runner, and the way in from other threads."""

from mesh.runtime.clock import LoopClock
from mesh.runtime.runner import LoopRunner
from mesh.runtime.threads import Handover, ThreadWaiter

__all__ = ["Handover", "LoopClock", "LoopRunner", "ThreadWaiter"]
