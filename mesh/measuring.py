"""The verbs by which a node tells how it is to its own program: health and metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from mesh.inspection.health import Health, blocked

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from mesh.aio import AsyncNode
    from mesh.host import Host

__all__ = ["AsyncMeasuring", "BlockingMeasuring"]


class _Hosted(Protocol):
    @property
    def host(self) -> Host: ...


class AsyncMeasuring:
    """Of ``AsyncNode``."""

    def health(self: _Hosted) -> Health:
        """How the node is now: its status, and the reasons, with what to do.

        ``docs/observability.md`` has the rules. Takes some 10 µs for each peer and waits for
        nothing. Raises NodeClosed before start and after close.
        """
        return self.host.vitals.health()

    @property
    def metrics_address(self: _Hosted) -> str | None:
        """Where metrics and health are served by HTTP, "host:port"; None without
        ``metrics_port=``. Raises NodeClosed before start and after close."""
        server = self.host.metrics
        return server.address if server is not None else None

    def export_metrics(self, registry: CollectorRegistry | None = None) -> None:
        """Show this node's metrics in a registry of ``prometheus_client`` (its own by default).

        For programs that serve metrics themselves; otherwise there is ``metrics_port=``. It may be
        said before ``start``, and again; several nodes may be in one registry. A node that is
        closed, or forgotten, is there no more. Each scrape asks the nodes and waits 2 s at most.

        Raises ConfigError when ``prometheus_client`` is not installed.
        """
        # The library is loaded by who uses it alone.
        from mesh.metrics.exporter import export

        export(self, registry)  # type: ignore[arg-type]


class BlockingMeasuring:
    """Of ``Node``."""

    aio: AsyncNode

    def health(self) -> Health:
        """How the node is now; "blocked" when its loop does not answer within 2 s."""
        host = self.aio.host
        answer = host.ask(host.vitals.health)
        try:
            return answer.result(BLOCKED_AFTER)
        except TimeoutError:
            return blocked(BLOCKED_AFTER)

    @property
    def metrics_address(self) -> str | None:
        """Where metrics and health are served by HTTP; None without ``metrics_port=``."""
        return self.aio.metrics_address

    def export_metrics(self, registry: CollectorRegistry | None = None) -> None:
        """Show this node's metrics in a registry of ``prometheus_client``."""
        self.aio.export_metrics(registry)


BLOCKED_AFTER = 2.0
"""Seconds for a loop to answer: more than a slow handler takes, less than a probe waits."""
