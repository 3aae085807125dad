"""Metrics for ``prometheus_client``: collectors that ask the nodes at each scrape.

Nothing is kept between scrapes and nothing is done for metrics when there is none, but for the
measuring of calls. The loop's thread makes the snapshot, and waits for nobody; whoever scrapes
waits for it ``DEADLINE`` seconds and then says ``mesh_up 0``, so that a node whose loop is blocked
is seen, and not missed.
"""

from __future__ import annotations

import contextlib
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, wait
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from mesh.inspection.state import state_of
from mesh.metrics.families import BUCKETS, PARTS, Filled, Snapshot, cumulative, fill
from patterns.errors import ConfigError, NodeClosed

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry, Metric

    from mesh.aio import AsyncNode
    from mesh.host import Host
    from mesh.settings import Settings

__all__ = ["DEADLINE", "Exports", "Questions", "export", "load_library", "metrics", "snapshot_of"]

T = TypeVar("T")

DEADLINE = 2.0
"""Seconds that a node has to answer. Scrapes have 10 by default, probes of Kubernetes 1."""


def load_library() -> Any:
    """``prometheus_client``. Raises ConfigError that says how to get it."""
    try:
        import prometheus_client
        import prometheus_client.core
    except ImportError:
        raise ConfigError(
            "metrics need the package prometheus-client: pip install 'mesh-p2p[metrics]'"
        ) from None
    return prometheus_client


class Questions(Generic[T]):
    """Asks a node's loop one thing, from any thread, one question at a time: those who come
    meanwhile get the same answer, so that a blocked loop finds one when it goes on, not many."""

    def __init__(self, host: Host, function: Callable[[], T]) -> None:
        self._host = host
        self._function = function
        self._lock = threading.Lock()
        self._pending: Future[T] | None = None

    def ask(self) -> Future[T]:
        """What will be the answer. It fails with NodeClosed when the node ends."""
        with self._lock:
            pending = self._pending
            if pending is None or pending.done():
                pending = self._pending = self._host.ask(self._function)
            return pending


def metrics_questions(host: Host, settings: Settings) -> Questions[dict[str, Any]]:
    """Asks for all that metrics need."""

    def state() -> dict[str, Any]:
        host.engine.inspection.measure(always=True)
        return {part: state_of(part, host, settings) for part in PARTS}

    return Questions(host, state)


def snapshot_of(settings: Settings, answer: Future[dict[str, Any]]) -> Snapshot:
    """What was answered until now. Raises NodeClosed of a node that has ended."""
    state = answer.result() if answer.done() else None
    return Snapshot(settings.mesh, settings.name, settings.id.hex(), state)


class Exports:
    """The nodes of one registry, as one collector: a family is told once, whoever has it."""

    def __init__(self) -> None:
        self._nodes: list[weakref.ref[AsyncNode]] = []
        self._lock = threading.Lock()

    def add(self, node: AsyncNode) -> None:
        with self._lock:
            if not any(known() is node for known in self._nodes):
                self._nodes.append(weakref.ref(node))

    def describe(self) -> Iterable[Metric]:
        """Nothing, so that nobody is asked when this is registered."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Ask all nodes at once. Takes ``DEADLINE`` at most."""
        asked = [
            (host.settings, host.questions.ask())
            for node in self._alive()
            if (host := node.started) is not None
        ]
        wait([answer for _, answer in asked], timeout=DEADLINE)
        snapshots = []
        for settings, answer in asked:
            with contextlib.suppress(NodeClosed):  # it ended meanwhile
                snapshots.append(snapshot_of(settings, answer))
        return metrics(snapshots)

    def _alive(self) -> list[AsyncNode]:
        with self._lock:
            nodes = [(ref, node) for ref in self._nodes if (node := ref()) is not None]
            nodes = [(ref, node) for ref, node in nodes if not node.is_closed]
            self._nodes = [ref for ref, _ in nodes]
            return [node for _, node in nodes]


_exports: weakref.WeakKeyDictionary[CollectorRegistry, Exports] = weakref.WeakKeyDictionary()
_exports_lock = threading.Lock()


def export(node: AsyncNode, registry: CollectorRegistry | None) -> None:
    """As ``Node.export_metrics``."""
    library = load_library()
    if registry is None:
        registry = library.REGISTRY
    with _exports_lock:
        exports = _exports.get(registry)
        if exports is None:
            exports = _exports[registry] = Exports()
            registry.register(exports)
    exports.add(node)


def metrics(snapshots: list[Snapshot]) -> Iterator[Metric]:
    """As the library wants them."""
    for filled in fill(snapshots):
        if filled.values:
            yield _metric(filled)


def _metric(filled: Filled) -> Metric:
    from prometheus_client.core import (
        CounterMetricFamily,
        GaugeMetricFamily,
        HistogramMetricFamily,
    )

    family = filled.family
    labels = ("mesh", "node", *family.labels)
    if family.kind == "histogram":
        histogram = HistogramMetricFamily(family.name, family.help, labels=labels)
        for names, (counts, total) in filled.values.items():
            buckets = list(zip(BUCKETS, map(float, cumulative(counts)), strict=True))
            histogram.add_metric(names, buckets, total)
        return histogram
    kind = CounterMetricFamily if family.kind == "counter" else GaugeMetricFamily
    metric = kind(family.name, family.help, labels=labels)
    for names, value in filled.values.items():
        metric.add_metric(names, value)
    return metric
