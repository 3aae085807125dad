"""Levels of the mesh's own loggers, set from elsewhere for a while.

Loggers belong to the process, whatever number of nodes it has: what is set is kept here for all of
them. A level falls back by itself, for whoever sets it at 3 a.m. forgets; a second change while
one is in force falls back to what was there before the first. A level that the program itself has
changed meanwhile is its own: it stays.

Only loggers that are there, "mesh" or below: a name that a peer makes up would stay for ever.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from mesh.logs import get_logger
from patterns.errors import BadRequest, NodeClosed
from patterns.rpc.method import Request

if TYPE_CHECKING:
    from asyncio import TimerHandle

    from mesh.host import Host

__all__ = ["LEVELS", "MAX_SECONDS", "LogLevels"]

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")

MAX_SECONDS = 86_400.0
"""For which a level is set: what is to stay longer is a setting of the program."""

ROOT = "mesh"

AUDIT = "mesh.audit"
"""Not to be silenced from elsewhere, nor by its parent."""

own = get_logger("mesh.node")


@dataclass(frozen=True, slots=True)
class _Change:
    """One logger's, that is in force."""

    before: int
    level: int
    until: datetime
    timer: TimerHandle
    owner: LogLevels


_changes: dict[str, _Change] = {}
"""By the logger's name; bounded by the loggers that the mesh has."""

_lock = threading.Lock()
"""Nodes of one process may have a loop each."""


class LogLevels:
    """The levels as one node sets them."""

    def __init__(self, host: Host) -> None:
        self._host = host

    def log_level(
        self,
        request: Request,
        level: str | None = None,
        logger: str = ROOT,
        seconds: float = 600.0,
    ) -> dict[str, Any]:
        """Set a level for so long, "RESET" for the end of that; without one tell what there is.

        Gives, per logger, its ``level`` (None: its parent's), what is in ``effect`` and ``until``
        when; and by which handlers of the program a record of that logger and level is shown.
        Raises BadRequest.
        """
        if logger not in _names():
            raise BadRequest(f"logger={logger!r:.80}: give one of {', '.join(_names())}")
        if level is not None:
            self._change(request.caller, level, logger, _checked(seconds))
        chosen = logging.getLogger(logger)
        effect = chosen.getEffectiveLevel()
        return {
            "logger": logger,
            "effect": logging.getLevelName(effect),
            "shown_by": shown_by(chosen, effect),
            "loggers": [_describe(name) for name in _names()],
        }

    def _change(self, caller: object, level: object, logger: str, seconds: float) -> None:
        word = level.upper() if isinstance(level, str) else ""
        if word not in (*LEVELS, "RESET"):
            raise BadRequest(f"level={level!r:.80}: give {', '.join(LEVELS)} or RESET")
        if logger in (ROOT, AUDIT) and word in ("ERROR", "CRITICAL"):
            raise BadRequest(
                f"level={word}: it would silence {AUDIT}, which tells who was denied what"
            )
        # Before it is in force: a level that hides this line is told as well.
        own.warning(
            "%s: %s sets the level of the logger %s to %s", self._host.title, caller, logger, word
        )
        if word == "RESET":
            _restore(logger)
        else:
            self._set(getattr(logging, word), logger, seconds)

    def _set(self, level: int, name: str, seconds: float) -> None:
        host = self._host
        chosen = logging.getLogger(name)
        until = host.wall_clock() + timedelta(seconds=seconds)
        timer = host.loop.call_later(seconds, _expire, name, self)
        with _lock:
            old = _changes.get(name)
            if old is not None:
                old.owner._cancel(old.timer)
            is_ours = old is not None and chosen.level == old.level
            before = old.before if old is not None and is_ours else chosen.level
            _changes[name] = _Change(before, level, until, timer, self)
            chosen.setLevel(level)

    def close(self) -> None:
        """What this node has set falls back now."""
        for name in list(_changes):
            _expire(name, self)

    def _cancel(self, timer: TimerHandle) -> None:
        """On the loop that it belongs to: another node may have set the level anew."""
        host = self._host
        if host.is_own_thread:
            timer.cancel()
        else:
            with contextlib.suppress(NodeClosed):  # and its timers are gone
                host.hand_over(timer.cancel)


def _checked(seconds: object) -> float:
    if (
        isinstance(seconds, bool)
        or not isinstance(seconds, int | float)
        or not 0 < seconds <= MAX_SECONDS
    ):
        raise BadRequest(f"seconds={seconds!r}: give more than 0, up to {MAX_SECONDS:g}")
    return float(seconds)


def _expire(name: str, owner: LogLevels) -> None:
    """The time of this node's change is over, unless that of another one has taken its place."""
    change = _changes.get(name)
    if change is not None and change.owner is owner:
        _restore(name)


def _restore(name: str) -> None:
    with _lock:
        change = _changes.pop(name, None)
        if change is None:
            return
        change.owner._cancel(change.timer)
        chosen = logging.getLogger(name)
        if chosen.level == change.level:
            chosen.setLevel(change.before)


def shown_by(chosen: logging.Logger, level: int) -> list[str]:
    """The handlers that take a record of this logger and level; empty: nobody would see it."""
    if chosen.disabled or logging.root.manager.disable >= level:
        return []
    handlers = list(_handlers(chosen))
    if not handlers and logging.lastResort is not None:
        handlers = [logging.lastResort]
    return [
        "the last resort" if handler is logging.lastResort else type(handler).__name__
        for handler in handlers
        if handler.level <= level
    ]


def _handlers(chosen: logging.Logger) -> Iterator[logging.Handler]:
    at: logging.Logger | None = chosen
    while at is not None:
        yield from at.handlers
        at = at.parent if at.propagate else None


def _names() -> list[str]:
    known = [
        name
        for name, one in list(logging.root.manager.loggerDict.items())
        if name.startswith(f"{ROOT}.") and isinstance(one, logging.Logger)
    ]
    return [ROOT, *sorted(known)]


def _describe(name: str) -> dict[str, Any]:
    chosen = logging.getLogger(name)
    change = _changes.get(name)
    return {
        "name": name,
        "level": _name(chosen.level) if chosen.level else None,
        "effect": _name(chosen.getEffectiveLevel()),
        "until": change.until.astimezone(UTC) if change is not None else None,
    }


def _name(level: int) -> str:
    return str(logging.getLevelName(level))
