"""Log records that programs can read: each says which event it is, with fields beside the text.

``get_logger`` is ``logging.getLogger`` and one thing more: a record gets an attribute ``mesh``, a
dict such as ``{"event": "peer_refused", "peer": "calc/1a2b3c4d", "reason": ...}``, made from its
text and its arguments by one table, ``EVENTS``. So a line is written once, as everywhere in Python,
and a formatter that writes JSON finds the parts of it. A record that is not made costs nothing.

Rules: a text stands for one event; what it takes is named in the table, in order. Fields are texts,
numbers, booleans or None. Never a payload, an argument, or a header: tests look for them.
"""

from __future__ import annotations

import logging
import re
from typing import Any

__all__ = ["EVENTS", "MORE", "UNNAMED", "get_logger"]

MORE = " (%d more of these were left out)"
"""Behind a text that others caused more often than they are told of."""

_WORDS = re.compile("([a-z])([A-Z])")

UNNAMED = "other"
"""The event of a text that is not in the table."""

EVENTS: dict[str, tuple[str, ...]] = {
    # Handlers.
    "the handler of %r raised": ("handler_failed", "subject"),
    "a handler raised on %s": ("handler_failed", "message"),
    "%s raised %s: %s": ("method_failed", "method", "type", "text"),
    # Publish/subscribe and groupcast.
    "the reader of %r is too slow: of what waits, the newest %d messages are kept": (
        "subscription_dropping", "subject", "kept",
    ),
    "queue group %r is behind: copies are dropped": ("queue_group_dropping", "queue_group"),
    "a message for %s was refused %d times, it is given up": ("cast_given_up", "group", "times"),
    # Calls.
    "%s of %s is passed over for %g s: %s": (
        "peer_ejected", "method", "peer", "seconds", "reason",
    ),
    "%s of %s is called again: a call succeeded": ("peer_restored", "method", "peer"),
    "a request of %s could not be served": ("internal_error", "peer"),
    # Ownership.
    "the handler of what this node owns of %r raised: %s": (
        "ownership_handler_failed", "service", "text",
    ),
    "the handler of what this node owns of %r has run for %g s; it is waited for no more": (
        "ownership_handler_overdue", "service", "seconds",
    ),
    "%s: work on slot %d goes on %g s after the slot was lost; its new owner begins": (
        "handover_cut_short", "service", "slot", "seconds",
    ),
    "%s: %s has not handed over within %g s; this node begins without that": (
        "handover_overdue", "service", "peer", "seconds",
    ),
    "singleton %s: %s": ("singleton_sight", "singleton", "reason"),
    "singleton %s runs here, with the fence %d": ("singleton_started", "singleton", "fence"),
    "singleton %s has stopped here": ("singleton_stopped", "singleton"),
    "singleton %s has returned; it is done here": ("singleton_done", "singleton"),
    "singleton %s raised %s; it begins again in %g s": (
        "singleton_failed", "singleton", "type", "seconds",
    ),
}  # fmt: skip
"""Text to event and the names of its arguments; ``mesh.logs`` adds those of the rest. Where the
event is empty the first argument names it: PeerFailed is "peer_failed"."""


def get_logger(name: str) -> logging.Logger:
    """The logger of that name; its records have fields."""
    logger = logging.getLogger(name)
    logger.addFilter(_add_fields)  # the same one twice is one
    return logger


def _add_fields(record: logging.LogRecord) -> bool:
    text = record.msg
    if not isinstance(text, str) or hasattr(record, "mesh"):
        return True
    names = EVENTS.get(text.removesuffix(MORE), (UNNAMED,))
    args = record.args if isinstance(record.args, tuple) else ()
    event, values = names[0], args
    if not event and args:
        event, values = _WORDS.sub(r"\1_\2", str(args[0])).lower(), args[1:]
    fields: dict[str, Any] = {"event": event}
    fields.update(zip(names[1:], map(_plain, values), strict=False))
    if text.endswith(MORE) and args:
        fields["left_out"] = args[-1]
    record.mesh = fields
    return True


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, str | int | float):
        return value
    try:
        return str(value)
    except Exception:  # noqa: BLE001  a class of the user's may raise anything
        # ``logging`` itself tells of what handlers raise; a filter's error goes to whoever logs.
        return f"<{type(value).__name__} without a text>"
