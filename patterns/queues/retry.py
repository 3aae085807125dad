"""``Retry``: whether, and after how long, a job whose handler raised is tried again.

The pauses grow, so that what is down is not hit by all that failed on it, and are drawn from a
range, so that jobs which failed together do not come back together.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from patterns.errors import ConfigError, MeshError
from patterns.queues.checks import MAX_DELAY_MS
from patterns.queues.options import check_number, check_whole

__all__ = ["Dead", "Policy", "Retry", "RetryLater", "delay_after"]

Policy = Callable[[BaseException, int], float | None]
"""``(error, attempts)`` -> seconds until the job is tried again, or None: it is given up."""


class RetryLater(MeshError):
    """Raised by a handler: try the job again after ``delay`` seconds, whatever the policy says."""

    def __init__(self, delay: float, reason: str = "") -> None:
        if not 0 <= delay <= MAX_DELAY_MS / 1000:
            raise ConfigError(f"RetryLater({delay!r}): a delay in seconds, 0 or more")
        super().__init__(reason or f"to be tried again in {delay:g} s")
        self.delay = delay
        self.reason = reason


class Dead(MeshError):
    """Raised by a handler: give the job up now, and keep it for people."""

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason or "given up by its handler")
        self.reason = reason


class Retry:
    """Exponential pauses.

    ``attempts`` at most so many times in all; None: for ever
    ``base``     seconds before the second attempt
    ``factor``   each pause is so many times the one before
    ``cap``      seconds, the longest pause
    ``jitter``   the part of a pause that is drawn: 0.5 is between a half and all of it
    ``fatal``    exceptions that no other attempt cures: the job is given up at once

    Raises ConfigError.
    """

    def __init__(
        self,
        attempts: int | None = 10,
        base: float = 1.0,
        factor: float = 2.0,
        cap: float = 600.0,
        jitter: float = 0.5,
        fatal: type[BaseException] | tuple[type[BaseException], ...] = (),
    ) -> None:
        if attempts is not None:
            check_whole("attempts", attempts)
        for name, value, least in (("base", base, 0), ("factor", factor, 1), ("cap", cap, 0)):
            check_number(name, value, least=least)
        check_number("jitter", jitter, least=0, most=1)
        kinds = fatal if isinstance(fatal, tuple) else (fatal,)
        if not all(isinstance(kind, type) and issubclass(kind, BaseException) for kind in kinds):
            raise ConfigError(f"fatal={fatal!r:.200}: give exceptions' types, in a tuple")
        self.attempts = attempts
        self.base = base
        self.factor = factor
        self.cap = min(cap, MAX_DELAY_MS / 1000)
        self.jitter = jitter
        self.fatal = kinds

    def delay(self, error: BaseException, attempts: int, random: Random) -> float | None:
        """Seconds until the next attempt, after so many; None: there is none."""
        if isinstance(error, RetryLater):
            return error.delay
        if isinstance(error, (Dead, *self.fatal)):
            return None
        if self.attempts is not None and attempts >= self.attempts:
            return None
        try:
            longest = min(self.cap, self.base * self.factor ** (attempts - 1))
        except OverflowError:
            longest = self.cap
        return longest * (1 - self.jitter * random.random())


def delay_after(
    policy: Retry | Policy, error: BaseException, attempts: int, random: Random
) -> float | None:
    """What a policy of either form says; ``RetryLater`` and ``Dead`` come before it.

    Raises what the user's function raises, and ConfigError when it returns what is no delay.
    """
    if isinstance(policy, Retry):
        return policy.delay(error, attempts, random)
    if isinstance(error, RetryLater):
        return error.delay
    if isinstance(error, Dead):
        return None
    delay = policy(error, attempts)
    if delay is None:
        return None
    is_number = isinstance(delay, int | float)
    if not is_number or not 0 <= delay <= MAX_DELAY_MS / 1000:
        raise ConfigError(f"the retry policy returned {delay!r}: seconds, 0 or more, or None")
    return delay
