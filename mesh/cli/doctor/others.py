"""Who was heard of and is not linked with our node: from its sources, from half a link, and from
what members say. One node that several tell of is one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

import mesh
from discovery import Candidate
from mesh.cli.doctor.asking import seen_in
from mesh.cli.doctor.facts import Focus, Member, Other, Seen, Tried

__all__ = ["Others"]

LINKED = ("alive", "unresponsive", "suspect")
"""States of members: these are spoken of as members."""

KNOWN = (*LINKED, "failed")
"""States for which a member remembers another that it has no link with; "unknown" ones never were
members, and those that left said so."""

OVER = ("self", "left")
"""Causes of what needs no word: it is us, or it has said goodbye."""

CLAIMS = ("other-mesh", "other-key", "other-protocol", "key-only-there", "key-only-here")
"""Causes for which our node does not dial: nothing is wrong with the way there."""

MAX_OTHERS = 1024
"""Nodes that are spoken of; a network has hundreds."""


class Others:
    """As they are now. ``members`` have told whom they see, ``heard`` were heard by multicast on
    interfaces in use, beside what the node itself has heard."""

    def __init__(
        self,
        node: mesh.AsyncNode,
        members: Iterable[Member],
        heard: Iterable[Candidate],
        focus: Focus | None,
    ) -> None:
        self._node = node
        self._focus = focus
        peers = node.peers(all=True)
        self._linked = {peer.id for peer in peers if peer.state in LINKED}
        self._taken = {peer.address for peer in peers if peer.state in LINKED}
        """Whoever was there before is gone."""
        self._observers = _observers(members)
        self._found: dict[str, Other] = {}
        for other in self._of_sources():
            self._add(other)
        for candidate in heard:
            self._add(self._of_found("mdns", node.host.finding.found(candidate)))
        for other in (*self._half_linked(), *self._told_by(members)):
            self._add(other)

    def __iter__(self) -> Iterator[Other]:
        return iter(self._found.values())

    def _add(self, other: Other) -> None:
        if other.id in self._linked or other.id == self._node.id:
            return
        if other.id in self._observers and not other.is_wanted:
            return  # a tool, which somebody has stopped
        if other.cause in OVER or (other.cause in LINKED and not other.state):
            return
        known = self._found.get(other.key) or self._at(other.addresses)
        if known is None:
            if len(self._found) < MAX_OTHERS:
                self._found[other.key] = other
            return
        first, second = (known, other) if known.id else (other, known)
        self._found.pop(known.key)
        merged = replace(
            first,
            name=first.name or second.name,
            addresses=tuple(dict.fromkeys((*first.addresses, *second.addresses))),
            mesh=first.mesh or second.mesh,
            by=tuple(dict.fromkeys((*known.by, *other.by))),
            cause=_graver(first.cause, second.cause),
            text=first.text if _graver(first.cause, second.cause) == first.cause else second.text,
            state=first.state or second.state,
            reaches_us=first.reaches_us or second.reaches_us,
            answers_us=first.answers_us or second.answers_us,
            is_wanted=first.is_wanted or second.is_wanted,
        )
        self._found[merged.key] = merged

    def _at(self, addresses: Iterable[str]) -> Other | None:
        """Who is at one of them, if it is known by address alone, or the address is all we have."""
        wanted = set(addresses)
        return next((o for o in self._found.values() if wanted & set(o.addresses)), None)

    def _of_sources(self) -> Iterator[Other]:
        for name, report in self._node.discovery().items():
            for found in report.found:
                yield self._of_found(name, found)

    def _of_found(self, by: str, found: mesh.Found) -> Other:
        return Other(
            found.id,
            addresses=found.addresses,
            mesh=found.mesh,
            fingerprint=found.fingerprint,
            protocol=found.protocol,
            cause=found.cause,
            text=found.outcome,
            by=(by,),
            is_wanted=self._is_wanted(found.addresses),
        )

    def _is_wanted(self, addresses: Iterable[str]) -> bool:
        focus = self._focus
        return focus is not None and any(map(focus.is_at, addresses))

    def _half_linked(self) -> Iterator[Other]:
        """Those that have connected to us, or answer us, and not both."""
        for id, seen in seen_in(self._node.host.engine.inspection.peers()).items():
            if id not in self._linked and (seen.hears_us or seen.is_heard):
                yield replace(
                    self._of_peer(id, seen, "it has connected to us" if seen.hears_us else ""),
                    state="",
                    reaches_us=seen.hears_us,
                    answers_us=seen.is_heard,
                )

    def _told_by(self, members: Iterable[Member]) -> Iterator[Other]:
        for member in members:
            for id, seen in (member.view.peers if member.view is not None else {}).items():
                is_there = seen.hears_us or seen.is_heard or seen.state in KNOWN
                if id not in self._linked and not seen.is_observer and is_there:
                    yield self._of_peer(id, seen, member.title)

    def _of_peer(self, id: str, seen: Seen, by: str) -> Other:
        addresses = (seen.address,) if seen.address and seen.address not in self._taken else ()
        cause, text = self._node.host.engine.outcome(bytes.fromhex(id), addresses)
        name = "" if seen.name == "unknown" else seen.name
        return Other(
            id,
            name,
            addresses,
            cause=cause,
            text=text,
            by=(by,) if by else (),
            state=seen.state,
            is_wanted=self._is_wanted(addresses),
        )

    # The trying.

    def worth_trying(self) -> list[str]:
        """Addresses of those that should be linked with us."""
        return [address for other in self if _is_ours(other) for address in other.addresses]

    def are_pending(self, tries: Mapping[str, Tried]) -> bool:
        """Whether our node has still to find out what it is with some that answer."""
        return any(
            other.cause in ("dialled", "unanswered", "not-dialled", "silent")
            for other in self._with_result(tries, "alive", "keyed")
        )

    def may_come(self, tries: Mapping[str, Tried]) -> bool:
        """Whether there are some that we cannot reach and that have not reached us."""
        return any(not other.reaches_us for other in self._with_result(tries, "timeout"))

    def _with_result(self, tries: Mapping[str, Tried], *results: str) -> Iterator[Other]:
        for other in self:
            tried = (tries[address] for address in other.addresses if address in tries)
            if _is_ours(other) and any(one.result in results for one in tried):
                yield other

    def with_tries(self, tries: Mapping[str, Tried]) -> Iterator[Other]:
        """Each with what became of its addresses."""
        for other in self:
            found = tuple(tries[address] for address in other.addresses if address in tries)
            yield replace(other, tried=found if _is_ours(other) else ())


def _observers(members: Iterable[Member]) -> set[str]:
    """Those that any member knows to be one."""
    views = [member.view for member in members if member.view is not None]
    return {id for view in views for id, seen in view.peers.items() if seen.is_observer}


def _is_ours(other: Other) -> bool:
    return other.cause not in CLAIMS and not other.cause.startswith("refused-")


def _graver(one: str, other: str) -> str:
    """Of two causes that which says more."""
    for says_more in (*CLAIMS, "refused-"):
        for cause in (one, other):
            if cause.startswith(says_more):
                return cause
    return one or other
