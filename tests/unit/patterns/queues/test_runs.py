"""Numbers as runs, there and back."""

from __future__ import annotations

from random import Random

from patterns.queues.checks import runs_in, runs_of


def test_runs_are_short_and_the_same_numbers_come_of_them() -> None:
    random = Random(1)
    for _ in range(300):
        numbers = random.sample(range(random.choice([20, 60, 10**6])), random.randrange(20))
        runs = runs_of(numbers)
        assert runs_in(runs, "numbers") == sorted(numbers)
        starts = sum(number - 1 not in numbers for number in numbers)
        assert len(runs) == 2 * starts
