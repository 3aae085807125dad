"""What can go wrong with a job; none of it loses one."""

from __future__ import annotations

from patterns.errors import MeshError

__all__ = ["JobFailed", "JobGone", "LeaseLost", "QueueClosed", "QueueFull", "StoreFailed"]


class LeaseLost(MeshError):
    """Raised to a worker whose job is not its own any more: the lease ended, or it was deleted.

    Somebody else may have it by now. What the worker has done stands; it is nothing to stop for.
    """


class JobGone(MeshError):
    """Raised when there is no such job any more: it is done, deleted or expired."""


class JobFailed(MeshError):
    """Raised to who waits for the result of a job that was given up: it is among the dead ones.

    ``reason`` is what its last attempt ended with, ``attempts`` how many there were.
    """

    def __init__(self, text: str, reason: str = "", attempts: int = 0) -> None:
        super().__init__(text)
        self.reason = reason
        self.attempts = attempts


class QueueClosed(MeshError):
    """Raised when a queue is being drained: it takes no jobs, and hands out those that it has."""


class QueueFull(MeshError):
    """Raised when a queue takes nothing more: its maximum length is reached. Nothing was put."""


class StoreFailed(MeshError):
    """Raised when a job cannot be made safe: the disk is full, or does not work.

    It was not put. What was accepted before is kept, and its changes are written when that works.
    """
