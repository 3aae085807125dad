"""Where keyed calls belong, by this node's own view. Caller and server ask it alike.

A key has an order of preference over the members of its service (the ring's). It is changed by
joins, leaves and failures only, so a suspect keeps its place and is merely passed over: its keys
come back with it and no others move.

Views differ for moments. So a node that is asked for a key and sees a better one names it instead
of serving (``STATUS_MOVED``), and the caller follows. A request says how often that has happened;
one that says ``FINAL`` is served by whoever has it. The caller says so at once when it passed over
a better node on purpose: the receiver, seeing that one alive, could only name it again.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from patterns.port import Handle, RpcPort
from patterns.rpc.providers import Providers

__all__ = ["FINAL", "Placement"]

FINAL = 2
"""Redirects after which a request is served where it is, so the third node serves: views that
differ for so long are settled by serving, not by asking on."""


class Placement:
    """The port's order of preference, applied to those who serve a method."""

    def __init__(self, port: RpcPort, providers: Providers) -> None:
        self._port = port
        self._providers = providers

    def pick(
        self, method: str, key: bytes, exclude: Collection[Handle] = ()
    ) -> tuple[Handle | None, int]:
        """The node to ask, None without any, and the redirects that its request shall claim.

        The first that is healthy, else the first in doubt.
        """
        service, _, name = method.partition(".")
        best = self._port.owners(service, key)
        providers = self._providers
        if best and not exclude:
            # What nearly all keyed calls come to, without the search.
            owner: Handle = best[0]
            if providers.is_healthy(owner) and providers.serves(owner, service, name):
                return owner, 0
        doubtful = None
        for handle in self._serving(service, name, best, key):
            if handle in exclude:
                continue
            if providers.is_healthy(handle):
                return handle, FINAL if exclude or doubtful is not None else 0
            if doubtful is None:
                doubtful = handle
        return doubtful, FINAL if exclude else 0

    def named(self, method: str, id: object) -> Handle | None:
        """The node that somebody named as the owner, if it serves the method and is healthy."""
        handle = self._port.handle_of(id) if type(id) is bytes else None
        if handle is None or not self._providers.is_healthy(handle):
            return None
        service, _, name = method.partition(".")
        return handle if self._providers.serves(handle, service, name) else None

    def better(self, method: str, key: bytes) -> Handle | None:
        """A healthy node that stands before this one; None: the key belongs here."""
        service, _, name = method.partition(".")
        best, me = self._port.owners(service, key), self._port.local
        if best and best[0] is me:
            return None
        for handle in self._serving(service, name, best, key):
            if handle is me:
                return None
            if self._providers.is_healthy(handle):
                return handle
        return None

    def _serving(
        self, service: str, name: str, best: Iterable[Handle], key: bytes
    ) -> Iterator[Handle]:
        """Those who serve it, best first; whoever takes only the first few pays for few."""
        providers = self._providers
        left = providers.serving(f"{service}.{name}")
        for handle in best:
            if providers.serves(handle, service, name):
                left -= 1
                yield handle
        if left:
            # A method that is not on all members, or more members in doubt than are kept in order.
            for handle in self._port.other_owners(service, key):
                if providers.serves(handle, service, name):
                    yield handle
