"""Surveys of one engine: whom a question goes to.

Without ``group`` or ``peers`` these are all nodes that serve the method, those in doubt included:
they are members, and silence of theirs is what the asker wants to know. With one of the two it is
exactly who is named: one of them that does not serve the method, or is gone, has failed.

Surprise: a survey in the first second after start waits until everybody heard of so far is linked,
as ``wait_for()`` does, and for a first provider, as calls do. A call needs one node; a survey that
asked the first of thirty would be wrong without saying so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from mesh.engine.conditions import Conditions
from mesh.engine.config import GRACE
from mesh.engine.core import Core
from mesh.engine.local import LocalSession
from mesh.engine.lookup import find_session
from mesh.engine.session import Session
from mesh.membership import Peer
from patterns.errors import ConfigError, MeshError, NoProvider, PeerLost
from patterns.names import check_name, group_subject, split_method
from patterns.port import Waiter
from patterns.rpc import CallOptions, Providers
from patterns.survey import Survey, Target

__all__ = ["Audience", "Surveys"]

ANY_SERVICE = "*."
"""What a method begins with that may be of any service."""


class Audience:
    """Who is to be asked. Raises BadName for the method or group, ConfigError for two at once."""

    __slots__ = ("group", "is_any_service", "method", "name", "peers")

    def __init__(self, method: str, group: str | None, peers: Sequence[Peer | str] | None) -> None:
        if group is not None and peers is not None:
            raise ConfigError("group= and peers= both say who is asked; give one")
        self.is_any_service = isinstance(method, str) and method.startswith(ANY_SERVICE)
        if self.is_any_service:
            self.name = check_name("method", method.removeprefix(ANY_SERVICE))
        else:
            _, self.name = split_method(method)
        if group is not None:
            group_subject(group)
        self.method = method
        self.group = group
        self.peers = peers


class Caller(Protocol):
    """The engine's calls."""

    call: Callable[..., int]

    def cancel(self, call_id: int) -> None: ...


class Surveys:
    """Begins surveys. It is their port: their calls are the engine's."""

    def __init__(
        self,
        caller: Caller,
        core: Core,
        local: LocalSession,
        providers: Providers,
        conditions: Conditions,
    ) -> None:
        self._caller = caller
        self._core = core
        self._local = local
        self._providers = providers
        self._conditions = conditions
        self.now = core.clock.now

    def begin(self, survey: Survey, audience: Audience) -> None:
        """Ask, now, or within the first second after start as soon as it is known whom.

        Raises, or ends the survey with, what ``Survey.begin`` raises, NoProvider when there is
        nobody to ask, and ConfigError for what names no peer.
        """
        grace = GRACE - (self.now() - self._conditions.opened_at)
        if grace <= 0 or audience.peers is not None:
            survey.begin(self, self._targets(audience))
            return

        begin = _Begin(self, survey, audience)
        self._conditions.when_settled(lambda: self._chosen(audience), grace, begin)

    def ask(self, survey: Survey, audience: Audience) -> None:
        """Now; what is wrong ends it."""
        try:
            survey.begin(self, self._targets(audience))
        except MeshError as error:
            survey.fail(error)

    # The port of a survey.

    def call(
        self,
        method: str,
        args: Sequence[Any],
        kwargs: dict[str, Any],
        options: CallOptions,
        waiter: Waiter,
        until: float | None,
    ) -> int:
        return self._caller.call(method, args, kwargs, options, waiter, until)

    def cancel(self, call_id: int) -> None:
        self._caller.cancel(call_id)

    # Whom.

    def _targets(self, audience: Audience) -> list[Target]:
        """Each node once. Raises NoProvider when there is none."""
        if audience.peers is not None:
            targets = {peer.id: peer for peer in map(self._named, audience.peers)}
            if not targets:
                raise NoProvider(f"{audience.method}: peers= is empty, so there is nobody to ask")
            return [self._target(audience, peer) for peer in targets.values()]
        chosen = self._chosen(audience)
        if chosen:
            return [self._target(audience, session) for session in chosen]
        if audience.group is not None:
            raise NoProvider(f"nobody is in the group {audience.group!r}")
        if audience.is_any_service:
            raise NoProvider(f"no reachable node serves a method {audience.name!r}")
        raise self._providers.none_for(audience.method)

    def _chosen(self, audience: Audience) -> list[Any]:
        if audience.group is None:
            everybody = self._providers.serving_any()
            return [node for node in everybody if self._method_at(audience, node) is not None]
        found: list[Any] = [self._local] if audience.group in self._core.record.groups else []
        for session in self._core.sessions.values():
            record = session.record
            if session.is_joined and record is not None and not record.is_observer:
                found += [session] if audience.group in record.groups else []
        return found

    def _target(self, audience: Audience, node: Any) -> Target:
        """``node`` is a session, or the peer of one that is gone."""
        if isinstance(node, Peer):
            return Target(node, None, audience.method, PeerLost(f"peer {node.id[:8]} is gone"))
        method = self._method_at(audience, node)
        if method is None and audience.is_any_service:
            text = f"{node.peer} serves no method {audience.name!r}"
            return Target(node.peer, None, audience.method, NoProvider(text))
        # Named and not known to serve it: it says so itself, or has begun to since.
        return Target(node.peer, node, method or audience.method)

    def _method_at(self, audience: Audience, node: Any) -> str | None:
        """What to call there, None when it does not serve it."""
        services = self._providers.services(node)
        if not audience.is_any_service:
            service, _, name = audience.method.partition(".")
            return audience.method if name in services.get(service, ()) else None
        own = node.peer.name
        found = [service for service, methods in services.items() if audience.name in methods]
        if not found:
            return None
        return f"{own if own in found else min(found)}.{audience.name}"

    def _named(self, peer: Peer | str) -> Any:
        """Its session, or its last known ``Peer`` when it is gone. Raises ConfigError."""
        try:
            session: Session = find_session(self._core, self._local, peer)
        except PeerLost:
            if isinstance(peer, Peer):
                return peer
            member = self._core.membership.get(bytes.fromhex(peer))
            return Peer(id=peer, name="unknown") if member is None else member.peer
        return session


class _Begin:
    """Ends the wait for whom to ask. ``patterns.port.Waiter``."""

    __slots__ = ("_audience", "_survey", "_surveys")

    def __init__(self, surveys: Surveys, survey: Survey, audience: Audience) -> None:
        self._surveys = surveys
        self._survey = survey
        self._audience = audience

    def done(self) -> bool:
        return self._survey.is_over

    def set_result(self, result: Any, /) -> None:
        self._surveys.ask(self._survey, self._audience)

    def set_exception(self, exception: BaseException, /) -> None:
        self._survey.fail(exception)
