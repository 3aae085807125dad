"""``SimWaiter``: the outcome of an operation, and a check that it comes exactly once."""

from __future__ import annotations

from typing import Any

__all__ = ["SimWaiter"]


class SimWaiter:
    """``patterns.port.Waiter``. ``at`` is the virtual time of its completion, None before it."""

    def __init__(self, now: Any) -> None:
        self._now = now
        self.at: float | None = None
        self.value: Any = None
        self.error: BaseException | None = None
        self.is_cancelled = False

    def done(self) -> bool:
        return self.at is not None or self.is_cancelled

    def set_result(self, result: Any, /) -> None:
        self._complete()
        self.value = result

    def set_exception(self, exception: BaseException, /) -> None:
        self._complete()
        self.error = exception

    def result(self) -> Any:
        """The value. Raises the error, or RuntimeError before completion."""
        if self.at is None:
            raise RuntimeError("not completed")
        if self.error is not None:
            raise self.error
        return self.value

    def _complete(self) -> None:
        if self.done():
            raise RuntimeError("completed twice, or after it was cancelled")
        self.at = self._now()
