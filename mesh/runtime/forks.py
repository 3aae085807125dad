"""What a fork does to nodes: the child has a copy of everything, and none of it works there.

The threads are not there, the sockets and the loop's descriptors are shared with the parent. Even
closing them would harm it: a loop that forgets a socket takes it out of an epoll set that both
have. So everything that lives is told in the child (``forget``), and from then on says NodeClosed
instead of touching what is not its own.

Surprise: the parent may have been anywhere when it forked, in any of its threads; a lock may be
held by one that the child does not have.
"""

from __future__ import annotations

import os
import weakref
from typing import Protocol

from patterns.errors import NodeClosed

__all__ = ["Forgetful", "forget_in_child", "started_before_fork"]


class Forgetful(Protocol):
    """Something that must not be used in a forked child."""

    def forget(self) -> None:
        """In the child, before anything else runs there: touch nothing, let nothing be used."""


_remembered: weakref.WeakSet[Forgetful] = weakref.WeakSet()


def forget_in_child(thing: Forgetful) -> None:
    """Call ``thing.forget()`` in every child that is forked while it exists."""
    _remembered.add(thing)


def started_before_fork(what: str) -> NodeClosed:
    """The error of what is used in a forked child."""
    return NodeClosed(
        f"{what} was started before this process was forked, and works in its parent only: make "
        "and start a new node in the child (multiprocessing: in the target; gunicorn: in post_fork)"
    )


def _after_fork_in_child() -> None:
    for thing in list(_remembered):
        thing.forget()


os.register_at_fork(after_in_child=_after_fork_in_child)
