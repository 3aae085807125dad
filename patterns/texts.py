"""Texts of errors, made fit to travel: bounded, and such that they always pack."""

from __future__ import annotations

import traceback

__all__ = ["MAX_TEXT_CHARS", "error_texts", "sendable"]

MAX_TEXT_CHARS = 8000
"""A remote text is for reading; a recursion's traceback is not worth megabytes on the wire."""


def sendable(text: str) -> str:
    """The beginning of a text, without the lone surrogates of odd file names."""
    return text[:MAX_TEXT_CHARS].encode("utf-8", "backslashreplace").decode()


def error_texts(error: BaseException) -> tuple[str, str, str]:
    """The type, message and traceback of what a handler raised."""
    try:
        message = str(error)
    except Exception as failure:  # noqa: BLE001  a text is needed, whatever its author wrote
        message = f"<its text cannot be made: {type(failure).__name__}>"
    trace = "".join(traceback.format_exception(error))[-MAX_TEXT_CHARS:]
    return type(error).__name__, sendable(message), sendable(trace)
