"""``meshctl bench``: a live mesh, measured.

``core`` decides and counts (histogram, schedule, receipts) on times that are handed in; ``load``
makes the calls and sends the messages, on the loop of the command's node; ``part`` is one
subscriber or worker, a node that counts what it gets; ``crew`` brings these in, as processes of
this machine or from ``serving``, which is ``bench serve`` on others; ``run`` plays one bench from
warm-up to sums, and ``report`` prints it.

All that a bench serves and sends has names that begin with ``NAME``, and each run its own.
"""

from __future__ import annotations

__all__ = ["NAME", "RUN_ID", "pattern_of", "run_name", "subject_of"]

NAME = "meshctl-bench"
"""The service of ``bench serve``; a run's names are this, a dash or a dot, and its id."""

RUN_ID = r"[0-9a-f]{8}"


def run_name(run: str) -> str:
    """The name of the nodes of a run, and of the group of its workers."""
    return f"{NAME}-{run}"


def subject_of(run: str, number: int) -> str:
    """One of the subjects of a run."""
    return f"{NAME}.{run}.{number}"


def pattern_of(run: str) -> str:
    """All subjects of a run."""
    return f"{NAME}.{run}.*"
