"""Text from other nodes, made fit for a terminal, and times as people say them."""

from __future__ import annotations

import re
from datetime import UTC, datetime

__all__ = ["bytes_of", "count_of", "milliseconds", "printable", "rate_of", "relative"]

# Everything a terminal may take for a command, and what turns a text round, but neither line ends
# nor tabs.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def printable(text: str) -> str:
    """``text`` with control characters written out as ``\\x1b``.

    Messages, tags and error texts come from other nodes; a terminal would obey what is in them.
    """
    return _CONTROL.sub(lambda found: ascii(found.group())[1:-1], text)


def count_of(number: int, what: str) -> str:
    """ "1 node", "2 nodes"."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def bytes_of(number: float) -> str:
    """ "512 B", "1.5 kB", "2.0 MB": powers of ten, as networks are measured."""
    for limit, size, unit in ((1e6, 1e3, "kB"), (1e9, 1e6, "MB")):
        if number < 1e3:
            return f"{number:.0f} B"
        if number < limit:
            return f"{number / size:.1f} {unit}"
    return f"{number / 1e9:.1f} GB"


def rate_of(per_second: float) -> str:
    """ "0.5 msg/s", "12,345 msg/s"."""
    return f"{per_second:,.{0 if per_second >= 10 else 1}f} msg/s"


def milliseconds(seconds: float) -> str:
    """ "0.42 ms": a time that is short on most networks."""
    return f"{seconds * 1e3:.2f} ms"


def relative(moment: datetime | None, now: datetime | None = None) -> str:
    """How long ago that was, in the largest fitting unit: "3 s", "5 min", "2 h", "4 d"."""
    if moment is None:
        return ""
    seconds = max(0.0, ((now or datetime.now(UTC)) - moment).total_seconds())
    for limit, size, unit in ((60, 1, "s"), (3600, 60, "min"), (86400, 3600, "h")):
        if seconds < limit:
            return f"{int(seconds / size)} {unit}"
    return f"{int(seconds / 86400)} d"
