"""The systems under test, one module each, and the roles a system can play.

A system module has `ROLES`, a map from role name to function; it leaves out what it cannot do.
A role runs alone in its process. It reports once when it is ready (the report of a role that others
connect to carries what they need, e.g. its address, and reaches them as `params["peer"]`) and
returns when there are no more commands. `params["run"]` is unique to one run, for names.
Times that are compared between processes are `time.monotonic_ns()`, one clock for the machine.

publisher         takes size, receivers, subjects (how many), broker; on `seconds` floods, then
                  sends a mark; reports sent, started_ns
subscriber        takes size, peer, subjects, broker; on each mark reports delivered (since the
                  last one), at_ns
window_server     answers calls with their argument; gets no commands
serial_server     the same, where one call at a time needs another kind of server
window_client     takes size, in_flight, peer; on `seconds` keeps that many calls in flight;
                  reports issued, answered, elapsed_ns
serial_client     takes size, peer; on `seconds` calls one by one;
                  reports issued, answered, p50_us, p99_us
lonely_publisher  takes size; on `seconds` publishes to nobody;
                  reports reached (receivers, should be 0), ns_per_publish
cold_server       takes discovery; on any command starts a node that answers calls;
                  reports started_ns
cold_client       takes discovery; on any command starts a node and calls the other;
                  reports started_ns, answered_ns
idler             takes count, the idlers there are; on `seconds` does nothing;
                  reports rss_bytes, cpu_s, elapsed_s
watched           one node; on `peers` waits until it knows that many of the crowd, and a moment
                  more; reports the fields of `benchmarks.usage`
crowd             on `add` starts so many nodes more, in this process; reports
broker            runs the server of a system that needs one, takes durable (whether what it has
                  acknowledged is on the disk); on any command reports its cpu_s
member            takes size, broker (its report); handles what casters send; on any command
                  reports handled (so far), at_ns (of the last one; 0: only casters know), cpu_s
caster            takes size, broker, peers (the members' reports); on `seconds` sends, each
                  message to one member, and waits for all acknowledgements, if there are any;
                  reports sent, started_ns, ended_ns, cpu_s (while it did that)
worker            takes size, broker, durable; handles the jobs of a queue, and says that they are
                  done; on any command reports as a member: a job counts when the queue has been
                  told that it is done
putter            takes size, broker, durable, peers (the worker's report), at_once (how many
                  producers there are; 1: it puts in the batches that are best); on `seconds` puts
                  jobs, each acknowledged; reports as a caster

A publisher waits, before its first message, until all its receivers are connected. A subscriber
calls a function per message (`Tally.hit` or one that does the same) and fails on a wrong payload.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine
from statistics import median, quantiles
from typing import Any, TypeAlias

from benchmarks.control import Control

try:
    from uvloop import run
except ImportError:
    from asyncio import run  # type: ignore[assignment]

Params: TypeAlias = dict[str, Any]
Role: TypeAlias = Callable[[Control, Params], None]

SUBJECT = "bench.data"
MARK = "bench.mark"
GROUP = "workers"
QUEUE = "bench-jobs"

SETUP_TIMEOUT_S = 10.0
"""How long a role waits for its peers to appear; ten times what the slowest needs."""

ANSWER_TIMEOUT_S = 5.0
"""How long one call, send or flush may take before the run counts as failed."""

SETTLE_S = 0.5
"""From knowing the last peer until its links and buffers are as they stay."""

PUBLISHES_PER_SAMPLE = 2_000
"""Publishes per timing sample of a lonely publisher: a few milliseconds at most."""


def subjects_of(params: Params, separator: str = ".") -> list[str]:
    """What to publish to: one subject, or as many different ones as `params["subjects"]`."""
    count = params.get("subjects", 1)
    subject = SUBJECT.replace(".", separator)
    return [subject] if count == 1 else [f"{subject}{separator}{n}" for n in range(count)]


def pattern_of(params: Params) -> str:
    """What to subscribe to, to get all of `subjects_of`."""
    return SUBJECT if params.get("subjects", 1) == 1 else f"{SUBJECT}.>"


def role(body: Callable[[Control, Params], Coroutine[Any, Any, None]]) -> Role:
    """Run a coroutine function as a role, on uvloop where it is installed."""

    def play(control: Control, params: Params) -> None:
        run(body(control, params))

    return play


class Tally:
    """What a subscriber has seen since the last mark, or a member in all. `last` shows that
    payloads were decoded; `at_ns` is when it was handled, for who cannot tell by other means."""

    __slots__ = ("at_ns", "count", "last", "size")

    def __init__(self, size: int) -> None:
        self.count = 0
        self.last: bytes | None = None
        self.at_ns = 0
        self.size = size

    def hit(self, payload: bytes) -> None:
        """The per-message handler."""
        self.count += 1
        self.last = payload

    def hit_and_note(self, payload: bytes) -> None:
        """The same, and when it was."""
        self.count += 1
        self.last = payload
        self.at_ns = time.monotonic_ns()

    def close_at_mark(self, control: Control, at_ns: int) -> None:
        """Report and start over.

        Raises:
            ValueError: the last payload has not the size that was sent.
        """
        self._check()
        control.report(delivered=self.count, at_ns=at_ns)
        self.count = 0
        self.last = None

    def report_handled(self, control: Control) -> None:
        """Report as a member. Raises as `close_at_mark`."""
        self._check()
        control.report(handled=self.count, at_ns=self.at_ns, cpu_s=time.process_time())

    def _check(self) -> None:
        if self.last is not None and len(self.last) != self.size:
            raise ValueError(f"a payload of {self.size} bytes arrived as {len(self.last)}")


def latency_percentiles(latencies_ns: list[int]) -> dict[str, float]:
    """Median and 99th percentile in microseconds, as a serial client reports them."""
    return {
        "p50_us": median(latencies_ns) / 1e3,
        "p99_us": quantiles(latencies_ns, n=100)[98] / 1e3,
    }
