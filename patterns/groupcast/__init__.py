"""Groupcast: one of many, by credit, acknowledged; the sender's side and the member's."""

from patterns.groupcast.receiver import CastReceiver
from patterns.groupcast.sender import CastSender

__all__ = ["CastReceiver", "CastSender"]
