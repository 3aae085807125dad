"""The laws by name, and who counts and enforces them.

A law counts how often its premise occurred: a campaign in which one had nothing to judge has not
shown it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

__all__ = ["LAWS", "Judge", "LawBroken"]

LAWS = {
    "order": "messages of one sender come in the order in which they were sent, and never twice",
    "exact gaps": "what is missing before a message is the number that was told, unless unknown",
    "drops are missed": "what a sender counts as dropped for a peer is missing there",
    "slow readers": "a slow reader has each message, or has it in `missed`",
    "one outcome": "each call, ping, flush and groupcast has one outcome, by its deadline",
    "right reply": "a call's value is that of its own handler",
    "at most once": "a call is started once at most, if its caller did not say retry=True",
    "not too late": "a call is not started after its deadline",
    "given up ends": "a handler whose caller has given up is ended, and what waits is not started",
    "handled": "each groupcast that was accepted by a sender that lives is handled",
    "marked": "of all runs of a groupcast one at most is not marked",
    "not again": "a groupcast that no fault could meet is handled once",
    "asked first": "a member begins no groupcast whose sender has failed it and given it to others",
    "key order": "groupcasts of a key that were never marked run one by one, in order",
    "slots": "a member has no more groupcasts than it granted",
    "window": "no more than the window is on its way, no more than the bound waits",
    "no false death": "nobody is doubted whom no fault has met",
    "story": "what is told of a peer makes sense: joined first, nothing after it has left",
    "doubt ends": "a suspect is back, unresponsive or failed in time",
    "lost at once": "no call is left at a peer that has failed or left",
    "goodbye": "who leaves is known to have left, at once, not to have failed",
    "convergence": "when all is healed, all know all, in time",
    "no ghosts": "who is gone is listed nowhere",
    "rings": "nodes that know the same members name the same owners",
    "owner serves": "a keyed call is served by the owner that all name",
    "progress": "when all is healed, everybody reaches everybody, and loses nothing",
    "settled": "when all is done, nobody owes anybody anything, and nothing is said of it any more",
    "nothing strange": "nobody counts what an honest peer never does",
    "capacity": "a member can be used to its capacity again",
    "clean end": "a closed node leaves no timer, connection, wait or handler behind",
}


class LawBroken(AssertionError):
    """``law`` is its name."""

    def __init__(self, law: str, text: str) -> None:
        super().__init__(f"{law}: {text}")
        self.law = law


class Judge:
    """Of one run: ``premises`` of each law, and the first that was broken."""

    def __init__(self) -> None:
        self.premises: Counter[str] = Counter()
        self.broken: LawBroken | None = None

    def judge(self, law: str, holds: bool, text: Callable[[], str] | str = "") -> None:
        """Count a premise of that law, and raise unless it holds."""
        self.premises[law] += 1
        if not holds:
            raise self.broke(law, text if isinstance(text, str) else text())

    def broke(self, law: str, text: str) -> LawBroken:
        """What is raised in a handler is only logged there: the first of all is kept."""
        error = LawBroken(law, text)
        if self.broken is None:
            self.broken = error
        return error
