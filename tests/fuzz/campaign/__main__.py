"""``python -m tests.fuzz.campaign --inputs 10000000 --seed 1 [--target NAME]``

The inputs are divided among the targets; costly ones get a tenth of what the others get. What
breaks a law is told as hex, with how to repeat it, and kept in the corpus with ``--keep``.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time

from tests.fuzz.campaign import TARGETS, Failure, Fuzzer, Target, save

COSTLY_SHARE = 0.1


def shares(targets: list[Target], inputs: int) -> list[int]:
    """How many inputs each of them gets."""
    weights = [COSTLY_SHARE if target.is_costly else 1.0 for target in targets]
    return [int(inputs * weight / sum(weights)) + 1 for weight in weights]


def again(target: Target, data: bytes) -> int:
    """Try one input."""
    try:
        result = target.decode(data)
    except target.refuses as error:
        print(f"refused: {error!r}")
        return 0
    print(f"taken: {result!r:.2000}")
    target.law(data, result)
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=1_000_000, help="of all targets together")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--target", action="append", help="only this one; may be repeated")
    parser.add_argument("--input", help="try this one input, in hex, at the target")
    parser.add_argument("--keep", action="store_true", help="add what fails to the corpus")
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    known = {target.name: target for target in TARGETS}
    unknown = set(options.target or ()) - set(known)
    if unknown:
        parser.error(f"unknown targets: {unknown}; there are: {', '.join(known)}")
    targets = [known[name] for name in options.target] if options.target else TARGETS
    if options.input is not None:
        return again(targets[0], bytes.fromhex(options.input))
    began, failures, total = time.monotonic(), 0, 0
    for target, share in zip(targets, shares(targets, options.inputs), strict=True):
        fuzzer = Fuzzer(target, options.seed)
        try:
            fuzzer.run(share)
        except Failure as failure:
            failures += 1
            print(f"FAILED {failure}")
            print(
                f"  again: python -m tests.fuzz.campaign --target {target.name} "
                f"--input {failure.data.hex()}"
            )
            if options.keep:
                save(target.name, failure.data, failure.what)
        total += fuzzer.report.inputs
        print(fuzzer.report, flush=True)
    seconds = time.monotonic() - began
    print(f"{total:,} inputs, {failures} failures, {seconds:.0f} s, {total / seconds:,.0f}/s")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
