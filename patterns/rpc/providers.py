"""Who serves what: an index from methods to nodes, in order of preference.

A call is balanced by *least outstanding of two*: two nodes are drawn at random and the one with
fewer calls in flight from here gets it (Mitzenmacher, "The Power of Two Choices", 2001). Nodes in
doubt (suspect, unresponsive) are drawn only when no other is left.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from random import Random

from patterns.errors import NoProvider
from patterns.names import split_method
from patterns.port import Handle

__all__ = ["Providers"]


class Providers:
    """The index. ``update`` and ``remove`` on change, ``pick`` for each call."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._services: dict[Handle, Mapping[str, Collection[str]]] = {}
        self._healthy: set[Handle] = set()
        self._preferred: dict[str, list[Handle]] = {}
        self._doubtful: dict[str, list[Handle]] = {}
        self.changed = False
        """Set by every change; whoever acts on changes resets it."""

    def update(
        self, handle: Handle, services: Mapping[str, Collection[str]], is_healthy: bool
    ) -> None:
        """``handle`` serves exactly ``services`` (name to methods), healthy or in doubt.

        They are not to be changed afterwards: the same object again is no news.
        """
        is_same = self._services.get(handle) is services
        if is_same and is_healthy == (handle in self._healthy):
            return
        self.remove(handle)
        self._services[handle] = services
        if is_healthy:
            self._healthy.add(handle)
        index = self._preferred if is_healthy else self._doubtful
        for service, methods in services.items():
            for method in methods:
                index.setdefault(f"{service}.{method}", []).append(handle)

    def remove(self, handle: Handle) -> None:
        """``handle`` serves nothing any more; unknown ones are ignored."""
        self.changed = True
        services = self._services.pop(handle, None)
        if services is None:
            return
        index = self._preferred if handle in self._healthy else self._doubtful
        self._healthy.discard(handle)
        for service, methods in services.items():
            for method in methods:
                name = f"{service}.{method}"
                handles = index[name]
                handles.remove(handle)
                if not handles:
                    del index[name]

    def pick(self, name: str, exclude: Collection[Handle] = ()) -> Handle | None:
        """A node for one call of ``name`` ("service.method"), or None."""
        for index in (self._preferred, self._doubtful):
            handles = index.get(name)
            if handles is None:
                continue
            if exclude:
                handles = [handle for handle in handles if handle not in exclude]
            count = len(handles)
            if count == 1:
                return handles[0]
            if count:
                first = int(self._random.random() * count)
                second = int(self._random.random() * (count - 1))
                if second >= first:
                    second += 1
                a, b = handles[first], handles[second]
                return a if a.outstanding <= b.outstanding else b
        return None

    def is_healthy(self, handle: Handle) -> bool:
        """Whether new work may go there without a second thought."""
        return handle in self._healthy

    def serves(self, handle: Handle, service: str, method: str) -> bool:
        """Whether ``handle``, healthy or in doubt, serves "service.method"."""
        services = self._services.get(handle)
        return services is not None and method in services.get(service, ())

    def serving(self, name: str) -> int:
        """How many nodes serve ``name`` ("service.method"), those in doubt included."""
        return len(self._preferred.get(name, ())) + len(self._doubtful.get(name, ()))

    def methods(self, service: str) -> list[str]:
        """All methods that anybody serves under ``service``, sorted."""
        prefix = service + "."
        return sorted(
            {
                name[len(prefix) :]
                for index in (self._preferred, self._doubtful)
                for name in index
                if name.startswith(prefix)
            }
        )

    def serving_any(self) -> list[Handle]:
        """All nodes that provide a service, as nearly all do: that of their own name."""
        return list(self._services)

    def services(self, handle: Handle) -> Mapping[str, Collection[str]]:
        """What a node serves: service to methods."""
        return self._services.get(handle, {})

    def none_for(self, name: str) -> NoProvider:
        """The error for a method that nobody serves; it says what there is. Raises BadName."""
        service, method = split_method(name)
        if not self.count(service):
            return NoProvider(f"no reachable node provides the service {service!r}")
        methods = ", ".join(self.methods(service)) or "none"
        return NoProvider(f"service {service!r} has no method {method!r}; its methods: {methods}")

    def count(self, service: str) -> int:
        """How many nodes provide the service."""
        return sum(service in services for services in self._services.values())
