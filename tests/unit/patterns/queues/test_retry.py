"""Whether a job that failed is tried again, and when."""

from __future__ import annotations

from random import Random

import pytest

from patterns.errors import ConfigError
from patterns.queues.retry import Dead, Retry, RetryLater, delay_after

RANDOM = Random(1)


def test_pauses_grow_up_to_the_cap_and_are_drawn_from_their_upper_half() -> None:
    policy = Retry(attempts=None, base=1.0, factor=2.0, cap=60.0, jitter=0.5)
    for attempts in (1, 2, 5, 6, 7, 40, 10**6):
        longest = min(60.0, 2.0 ** min(attempts - 1, 60))
        drawn = [policy.delay(OSError(), attempts, RANDOM) or 0.0 for _ in range(100)]
        assert longest / 2 <= min(drawn) <= longest * 0.6
        assert longest * 0.9 <= max(drawn) <= longest


def test_without_jitter_pauses_are_exact() -> None:
    policy = Retry(base=0.5, factor=3.0, jitter=0.0)
    assert [policy.delay(OSError(), n, RANDOM) for n in (1, 2, 3)] == [0.5, 1.5, 4.5]


def test_the_last_attempt_and_fatal_errors_have_no_other() -> None:
    policy = Retry(attempts=3, fatal=(KeyError,))
    assert policy.delay(OSError(), 2, RANDOM) is not None
    assert policy.delay(OSError(), 3, RANDOM) is None
    assert policy.delay(KeyError(), 1, RANDOM) is None


def policies() -> list[object]:
    return [Retry(attempts=1), lambda error, attempts: None, lambda error, attempts: 5.0]


@pytest.mark.parametrize("policy", policies())
def test_what_the_handler_says_comes_before_the_policy(policy: Retry) -> None:
    assert delay_after(policy, RetryLater(60, "busy"), 99, RANDOM) == 60
    assert delay_after(policy, Dead("no"), 1, RANDOM) is None


def test_a_function_is_a_policy() -> None:
    assert delay_after(lambda error, attempts: attempts * 2.0, OSError(), 3, RANDOM) == 6.0
    with pytest.raises(ConfigError, match="returned -1"):
        delay_after(lambda error, attempts: -1, OSError(), 1, RANDOM)


@pytest.mark.parametrize(
    "options",
    [
        {"attempts": 0},
        {"base": -1},
        {"factor": 0.5},
        {"cap": float("inf")},
        {"base": float("nan")},
        {"jitter": 1.1},
    ],
)
def test_what_cannot_be_is_refused(options: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        Retry(**options)  # type: ignore[arg-type]
    for delay in (-1, float("nan"), 1e12):
        with pytest.raises(ConfigError):
            RetryLater(delay)
