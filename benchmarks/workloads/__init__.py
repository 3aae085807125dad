"""The workloads: what is played, by which contestants, and what is read off.

A workload is a script over roles (`benchmarks.systems`) and knows no system; a contestant is a
system module, with parameters where one system competes in several ways. So a new system is a
module there and a `Contestant` here, and a new workload is a script, or an old one with other
numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from benchmarks.stage import Actor, Stage

BASELINE = "raw"
"""The label that all ratios refer to."""

WARM_UP_S = 0.2
"""Played before each measurement and thrown away: connections, caches, TCP windows."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One number read off a run."""

    name: str
    unit: str
    better: Literal["higher", "lower"]
    digits: int = 0


@dataclass(frozen=True, slots=True)
class Contestant:
    """A label in the table, and the module and parameters behind it. `missing()` says what it
    would need and is not installed here, without importing it."""

    label: str
    system: str
    params: Mapping[str, Any] = field(default_factory=dict)
    missing: Callable[[], str | None] = lambda: None
    may_lose: bool = False
    """Whether it drops by design: then a loss is told, and no fault."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What one run gave: values by metric name, and messages or calls due and done.

    `expected` counts deliveries (messages x receivers) or calls; it differs from `delivered` only
    by loss or duplication, and is 0 where there is nothing to count.
    """

    values: dict[str, float]
    expected: int = 0
    delivered: int = 0

    @property
    def is_exact(self) -> bool:
        """Whether everything that was due was done, once."""
        return self.expected == self.delivered


@dataclass(frozen=True, slots=True)
class Workload:
    """A script and those who play it. `play(stage, params, seconds)` is one run of one of them."""

    name: str
    metrics: tuple[Metric, ...]
    contestants: tuple[Contestant, ...]
    play: Callable[[Stage, Mapping[str, Any], float], Sample]


def split_broker(stage: Stage, params: Mapping[str, Any]) -> tuple[Actor | None, dict[str, Any]]:
    """The broker of a system that needs one, started, and the parameters of its other roles."""
    options = dict(params)
    if not options.pop("broker", False):
        return None, options
    broker = stage.start("broker")
    return broker, options | {"broker": broker.expect()}
