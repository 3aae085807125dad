"""``python -m tests.sim.campaign``: run seeds, replay one, shrink one; see docs/simulation.md."""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections import Counter

from mesh.testing.shrink import shrink
from tests.sim.campaign import LawBroken, Plan, Run, make_plan


def broken(plan: Plan) -> LawBroken | None:
    """The law that a run of the plan breaks."""
    try:
        Run(plan).execute()
    except LawBroken as error:
        return error
    return None


def shrunk(plan: Plan, law: str) -> Plan:
    """The plan without the steps that the failure does not need."""

    def fails(steps: tuple[object, ...]) -> bool:
        error = broken(plan._replace(steps=steps))
        return error is not None and error.law == law

    return plan._replace(steps=shrink(plan.steps, fails))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("first", type=int, help="the first seed")
    parser.add_argument("count", type=int, nargs="?", default=1, help="how many seeds")
    parser.add_argument("--shrink", action="store_true", help="shrink what fails")
    parser.add_argument("--story", action="store_true", help="tell the steps of what fails")
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    began, failures = time.monotonic(), 0
    premises: Counter[str] = Counter()
    for seed in range(options.first, options.first + options.count):
        run = Run(make_plan(seed))
        try:
            premises.update(run.execute().premises)
        except AssertionError as error:
            failures += 1
            print(f"seed {seed}: {error}", flush=True)
            if options.story:
                print("\n".join(run.history.story))
            if options.shrink and isinstance(error, LawBroken):
                plan = shrunk(make_plan(seed), error.law)
                print(f"{len(plan.steps)} steps are enough:", *plan.steps, sep="\n  ")
    print(f"{options.count} runs, {failures} failures, {time.monotonic() - began:.0f} s")
    for law, times in sorted(premises.items()):
        print(f"{times:12,} {law}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
