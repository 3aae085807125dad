"""The counters that the parts keep themselves, by the names that users see."""

from __future__ import annotations

from mesh.engine.core import Core
from mesh.engine.local import LocalSession
from patterns.pubsub import PubSub
from patterns.rpc import RpcClient, RpcServer

__all__ = ["kept_elsewhere"]


def kept_elsewhere(
    core: Core, local: LocalSession, pubsub: PubSub, client: RpcClient, server: RpcServer
) -> dict[str, int]:
    """Those that have happened: a name appears when its number is not 0."""
    counts = {
        "dropped_by_slow_subscriptions": pubsub.dropped,
        "replaced_by_newer": pubsub.replaced,
        "dropped_for_slow_peers": core.forgotten.dropped
        + sum(session.outbox.dropped for session in (local, *core.sessions.values())),
        "malformed_messages": pubsub.malformed,
        "handler_errors": pubsub.handler_errors,
        "late_replies": client.late_replies,
        "expired_calls": server.expired,
        "calls_refused": server.refused,
        "retries": client.retries.made,
        "retries_denied": client.retries.denied,
        "hedges_sent": client.hedging.sent,
        "hedges_won": client.hedging.won,
        "hedges_denied": client.hedging.denied,
        "peers_ejected": client.outliers.ejections,
        "moved_calls": server.moved,
        "redirects_followed": client.redirects_followed,
        "keyed_served_for_others": server.served_for_others,
        "calls_handed_on": server.handed_on,
        "calls_taken_elsewhere": client.taken_elsewhere,
    }
    # Some are counted in two places.
    return {n: number + core.counters.get(n, 0) for n, number in counts.items() if number}
