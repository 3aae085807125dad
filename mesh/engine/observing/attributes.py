"""What spans tell of calls and messages, by the names of OpenTelemetry's semantic conventions.

What those have no name for begins with ``mesh.``: ``mesh.keyed`` (never the key), ``mesh.nodes``
(how many a message went to), ``mesh.redelivered``, ``mesh.retries``, ``mesh.stream``.
"""

from __future__ import annotations

from typing import Any

from patterns.traces import MAX_TEXT

__all__ = ["call_attributes", "message_attributes"]


def call_attributes(method: str) -> dict[str, Any]:
    """Of a call of "service.method"."""
    service, _, name = method.partition(".")
    return {"rpc.system": "mesh", "rpc.service": service, "rpc.method": name}


def message_attributes(verb: str, operation: str, destination: str) -> dict[str, Any]:
    """Of a message to a subject or a group. ``operation`` is "send" or "process"."""
    return {
        "messaging.system": "mesh",
        "messaging.destination.name": str(destination)[:MAX_TEXT],
        "messaging.operation.name": verb,
        "messaging.operation.type": operation,
    }
