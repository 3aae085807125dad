"""What the replicas do of the things that one of many gets: jobs of a group, orders to be billed.

A module of its own, because both sides need it: the processes, and the scenes that check them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import mesh

__all__ = ["CREW", "LONG_JOB", "serve_crew"]

CREW = "crew"
"""The group that jobs are given to."""

JOB_SECONDS = 0.005
"""How long a job takes: enough that all who do jobs are busy at once."""

LONG_JOB = 60
"""The number of the job that is never ended by whoever gets it first."""


def serve_crew(node: mesh.Node, report: Callable[..., None]) -> None:
    """Make the node a member of the group and of the queue group."""

    @node.member(CREW)
    async def do_job(message: mesh.Message) -> None:
        report(got="job begun", data=[message.data, message.redelivered])
        if message.data == LONG_JOB and not message.redelivered:
            await asyncio.Event().wait()
        await asyncio.sleep(JOB_SECONDS)
        report(got="job done", data=message.data)

    @node.subscriber("orders.>", group="billing")
    async def bill(message: mesh.Message) -> None:
        await asyncio.sleep(JOB_SECONDS)
        report(got="billed", data=message.data)
