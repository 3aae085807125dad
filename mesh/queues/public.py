"""The names that ``mesh`` has of this package; it imports them when they are first asked for."""

from mesh.queues.faces import AsyncQueue, Queue
from mesh.queues.held import HeldJob
from mesh.queues.jobs import AsyncJob, Job, JobStatus, Progress
from mesh.queues.views import GroupStats, JobView, QueueStats

__all__ = [
    "AsyncJob",
    "AsyncQueue",
    "GroupStats",
    "HeldJob",
    "Job",
    "JobStatus",
    "JobView",
    "Progress",
    "Queue",
    "QueueStats",
]
