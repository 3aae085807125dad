"""``python -m tests.mutants [name ...]``: which seeds catch which planted bug, and by which law."""

from __future__ import annotations

import argparse
import logging
import sys

from tests.mutants.mutants import MUTANTS, applied
from tests.sim.campaign import LawBroken, Run, make_plan


def caught_by(name: str, seed: int) -> str:
    """The law that catches the planted bug in that seed's plan; empty when none does."""
    with applied(name):
        try:
            Run(make_plan(seed)).execute()
        except LawBroken as error:
            return error.law
    return ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="the planted bugs; all unless given")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--count", type=int, default=40, help="seeds tried for each")
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    escaped = 0
    for name in options.names or MUTANTS:
        for seed in range(options.first, options.first + options.count):
            if seed % 40 != 39 and (law := caught_by(name, seed)):
                print(f"{name}: seed {seed} by {law!r}", flush=True)
                break
        else:
            escaped += 1
            print(f"{name}: ESCAPED", flush=True)
    return 1 if escaped else 0


if __name__ == "__main__":
    sys.exit(main())
