"""Who serves what: an index from methods to nodes, in order of preference.

A call is balanced by *least outstanding of two*: two nodes are drawn at random and the one with
fewer calls in flight from here gets it (Mitzenmacher, "The Power of Two Choices", 2001). Nodes in
doubt (suspect, unresponsive) are drawn only when no other is left. So are those that were passed
over for one method (``patterns.rpc.outliers``), but for the one call that tries them again.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
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
        self._passed_over: dict[str, set[Handle]] = {}
        self._to_try: dict[str, Handle] = {}
        """Of a method, who gets the next call, whatever there is against it."""
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
        for service, methods in services.items():
            for method in methods:
                name = f"{service}.{method}"
                self._index_of(handle, name).setdefault(name, []).append(handle)

    def remove(self, handle: Handle) -> None:
        """``handle`` serves nothing any more; unknown ones are ignored."""
        self.changed = True
        services = self._services.pop(handle, None)
        if services is None:
            return
        for service, methods in services.items():
            for method in methods:
                self._unlist(handle, f"{service}.{method}")
        self._healthy.discard(handle)

    def pass_over(self, handle: Handle, name: str, *, is_on: bool) -> None:
        """Draw ``handle`` for calls of ``name`` only when no other is left; or as any other."""
        service, _, method = name.partition(".")
        is_listed = self.serves(handle, service, method)
        if is_listed:
            self._unlist(handle, name)
        if is_on:
            self._passed_over.setdefault(name, set()).add(handle)
        elif handles := self._passed_over.get(name):
            handles.discard(handle)
            if not handles:
                del self._passed_over[name]
        if self._to_try.get(name) is handle:
            del self._to_try[name]
        if is_listed:
            self._index_of(handle, name).setdefault(name, []).append(handle)

    def try_next(self, handle: Handle, name: str) -> None:
        """One call of ``name`` goes there, the next that any provider will do for."""
        self._to_try[name] = handle

    def may_pass_over(self, handle: Handle, name: str, share: float) -> bool:
        """Whether at most that share of the healthy would be passed over then, this one included.

        So there is always another one.
        """
        preferred = self._preferred.get(name, ())
        if handle not in preferred:
            return False
        over = sum(other in self._healthy for other in self._passed_over.get(name, ()))
        return over + 1 <= share * (len(preferred) + over)

    def _index_of(self, handle: Handle, name: str) -> dict[str, list[Handle]]:
        is_good = handle in self._healthy and handle not in self._passed_over.get(name, ())
        return self._preferred if is_good else self._doubtful

    def _unlist(self, handle: Handle, name: str) -> None:
        index = self._index_of(handle, name)
        handles = index[name]
        handles.remove(handle)
        if not handles:
            del index[name]

    def pick(self, name: str, exclude: Collection[Handle] = ()) -> Handle | None:
        """A node for one call of ``name`` ("service.method"), or None."""
        handles: Sequence[Handle] | None = self._preferred.get(name)
        if handles is None or exclude or self._to_try:
            handles = self._candidates(name, exclude)
        count = len(handles)
        if count == 1:
            return handles[0]
        if not count:
            return None
        first = int(self._random.random() * count)
        second = int(self._random.random() * (count - 1))
        if second >= first:
            second += 1
        a, b = handles[first], handles[second]
        return a if a.outstanding <= b.outstanding else b

    def spare(self, name: str, exclude: Collection[Handle]) -> Handle | None:
        """A node for what is not worth sending to one in doubt; or None."""
        if all(handle in exclude for handle in self._preferred.get(name, ())):
            return None
        return self.pick(name, exclude)

    def _candidates(self, name: str, exclude: Collection[Handle]) -> Sequence[Handle]:
        to_try = self._to_try.get(name)
        if to_try in self._healthy and to_try not in exclude:
            del self._to_try[name]
            if self.serves(to_try, *name.split(".")):
                return (to_try,)
        for index in (self._preferred, self._doubtful):
            handles = [handle for handle in index.get(name, ()) if handle not in exclude]
            if handles:
                return handles
        return ()

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
