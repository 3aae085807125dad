"""What a node with a policy asks before it acts: may that peer, may this node itself?

Decisions are remembered, those on each identity apart: a message on a subject that was seen before
costs a look-up. Whatever is denied is counted (``denied_call``, ``denied_publish`` and so on for
each right; ``denied_here`` for what this node itself was kept from) and told in the audit log.

A node without a policy has no guard, and nothing of its paths goes by here.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from mesh.engine.audit import Audit
from mesh.engine.core import Core
from mesh.engine.ports import Access, Identity
from mesh.engine.session import Session
from mesh.membership import Record
from patterns.errors import AccessDenied
from patterns.names import MAX_SUBJECT_BYTES, group_of

__all__ = ["MAX_DECISIONS", "Guard"]

MAX_DECISIONS = 16_384
"""Decisions that are remembered; then all are forgotten, and those in use are back at once. Names
have at most 255 bytes: some 8 MB."""

Decision = tuple[bool, str]


class Guard:
    """Decides for one engine. The policy never changes, and neither do identities while linked."""

    def __init__(self, core: Core, policy: Access) -> None:
        self._core = core
        self._policy = policy
        self._known: dict[Identity | None, dict[tuple[str, str], Decision]] = {}
        self._count = 0
        self.audit = Audit(core.clock)

    # Others.

    def may(self, session: Session, right: str, name: str) -> bool:
        """Whether a peer has that right; if not, that is counted and told."""
        return self.denial(session, right, name) is None

    def denial(self, session: Session, right: str, name: str) -> AccessDenied | None:
        """Why a peer has not that right, counted and told; None when it has."""
        identity = self.identity_of(session)
        is_allowed, rule = self.decide(identity, right, name)
        if is_allowed:
            return None
        self._core.count(f"denied_{right}")
        who = _described(identity)
        self.audit.tell(session.id, f"{session.peer} as {who}", right, name, rule)
        here = f"{self._core.config.name}/{self._core.id.hex()[:8]}"
        text = f"{here} does not let {who} {right} {name!r:.300}: rule {rule!r}"
        return AccessDenied(text, rule)

    def may_publish(self, session: Session, subject: object) -> bool:
        """Whether a peer may send what it sends to a subject, which may be a group's.

        What is no subject is not decided here, and nobody is subscribed to it.
        """
        if not isinstance(subject, str) or len(subject) > MAX_SUBJECT_BYTES:
            return True
        group = group_of(subject)
        if group is None:
            return self.may(session, "publish", subject)
        return self.may(session, "broadcast", group)

    def admit(self, session: Session, record: Record, patterns: Iterable[str]) -> None:
        """Take out of a peer's record the subscriptions and groups that it may not have.

        ``patterns`` are those that are new; its queue groups are all looked at.
        """
        for pattern in list(patterns):
            if not self._may_listen(session, pattern):
                record.refuse(pattern)
        kept = {
            group: allowed
            for group, listened in record.queues.items()
            if (allowed := tuple(p for p in listened if self._may_listen(session, p)))
        }
        if kept != record.queues:
            record.keep_queues(kept)

    def _may_listen(self, session: Session, pattern: str) -> bool:
        return self.may(session, *_listening(pattern))

    def identity_of(self, session: Session) -> Identity | None:
        """Who that is."""
        core = self._core
        if session.id == core.id:
            return core.config.identity
        return core.transport.identity_of(session.id)

    # This node itself.

    def check_own(self, right: str, name: str) -> None:
        """Raises AccessDenied, counted and told, when this node itself has not that right."""
        is_allowed, rule = self.decide(self._core.config.identity, right, name)
        if not is_allowed:
            self.note_own(right, name, rule)
            raise self.own_denial(right, name, rule)

    def check_listening(self, pattern: str) -> None:
        """The same for a subscription of this node, which may be one to a group."""
        self.check_own(*_listening(pattern))

    def note_own(self, right: str, name: str, rule: str) -> None:
        """This node itself was kept from something."""
        self._core.count("denied_here")
        who = f"this node as {_described(self._core.config.identity)}"
        self.audit.tell(self._core.id, who, right, name, rule)

    def own_denial(self, right: str, name: str, rule: str) -> AccessDenied:
        """What its caller is told."""
        who = _described(self._core.config.identity)
        return AccessDenied(
            f"the policy of this node does not let {who} {right} {name!r:.300}: rule {rule!r}", rule
        )

    # Decisions.

    def decide_own(self, right: str, name: str) -> Decision:
        """Whether this node itself has that right, and by which rule. Any thread may ask."""
        return self.decide(self._core.config.identity, right, name)

    def decide(self, identity: Identity | None, right: str, name: str) -> Decision:
        """What the policy says, from memory if it was asked before."""
        known = self._known.get(identity)
        found = known.get((right, name)) if known is not None else None
        return found if found is not None else self._ask(identity, right, name)

    def _ask(self, identity: Identity | None, right: str, name: str) -> Decision:
        # Another thread may do the same: at worst a decision is asked for twice.
        if self._count >= MAX_DECISIONS:
            self._known = {}
            self._count = 0
        self._count += 1
        decision = self._policy.decide(identity, right, name)
        self._known.setdefault(identity, {})[right, name] = decision
        return decision

    def close(self) -> None:
        """Tell what is not told yet."""
        self.audit.close()


def _listening(pattern: str) -> tuple[str, str]:
    """The right that a subscription needs, and to what."""
    group = group_of(pattern)
    return ("subscribe", pattern) if group is None else ("join", group)


def _described(identity: Any) -> str:
    return "nobody (no identity)" if identity is None else f"{identity.name!r:.100}"
