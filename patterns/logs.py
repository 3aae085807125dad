"""What a log record of the mesh says to programs: an event and its fields, beside the text.

``logger.warning("...", extra=event("peer_refused", reason=reason))`` gives the record an attribute
``mesh``, a dict: ``{"event": "peer_refused", "reason": ...}``. A formatter that writes JSON takes
it from there. ``docs/observability.md`` lists the events, and a test compares.

Rules: values are texts, numbers or None, and short; never a payload, an argument or a header.
Peers stand there as "name/12345678", as in the texts.
"""

from __future__ import annotations

from typing import Any

__all__ = ["event"]


def event(name: str, **fields: Any) -> dict[str, Any]:
    """The ``extra`` of a record."""
    return {"mesh": {"event": name, **{key: _plain(value) for key, value in fields.items()}}}


def _plain(value: Any) -> Any:
    return value if value is None or isinstance(value, str | int | float) else str(value)
