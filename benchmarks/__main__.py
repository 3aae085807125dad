"""`python -m benchmarks`: play the workloads and print the table.

Exit code 0 if every run succeeded and nothing was lost, 1 otherwise, 2 for wrong usage, 130 on
Ctrl-C. Progress goes to stderr, the result to stdout.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from benchmarks import harness, plot, report
from benchmarks.workloads.catalogue import WORKLOADS


def positive_int(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value


def positive_float(text: str) -> float:
    value = float(text)
    if not 0 < value <= 60:
        raise argparse.ArgumentTypeError("must be above 0 and at most 60 seconds")
    return value


def parse_arguments() -> argparse.Namespace:
    names = [workload.name for workload in WORKLOADS]
    labels = sorted({c.label for workload in WORKLOADS for c in workload.contestants})
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=names, metavar="NAME", help=", ".join(names))
    parser.add_argument(
        "--peers", nargs="+", choices=labels, metavar="LABEL", help=", ".join(labels)
    )
    parser.add_argument("--rounds", type=positive_int, default=report.QUOTABLE_ROUNDS)
    parser.add_argument("--seconds", type=positive_float, default=1.0, help="measured, per run")
    parser.add_argument("--pin", type=int, metavar="CPU", help="all processes on this CPU")
    parser.add_argument("--json", action="store_true", help="one JSON document instead of a table")
    parser.add_argument("--plot", type=Path, metavar="FILE.svg", help="draw the run, too")
    arguments = parser.parse_args()
    if arguments.plot is not None:
        try:
            plot.load_pyplot()  # missing, it is told before minutes of measuring
        except plot.PlotUnavailable as error:
            parser.error(str(error))
    return arguments


def main() -> int:
    arguments = parse_arguments()
    rounds, seconds, pin = arguments.rounds, arguments.seconds, arguments.pin
    results = []
    for workload in WORKLOADS:
        if not arguments.only or workload.name in arguments.only:
            results.append(
                harness.play(
                    workload,
                    frozenset(arguments.peers or ()),
                    rounds=rounds,
                    seconds=seconds,
                    pin=pin,
                    tell=lambda text: print(text, file=sys.stderr),
                )
            )
    document = report.document(results, rounds=rounds, seconds=seconds, pin=pin)
    print(json.dumps(document) if arguments.json else report.table(results))
    for complaint in report.complaints(results, rounds):
        print(complaint, file=sys.stderr)
    if arguments.plot is not None:
        try:
            plot.draw(document, arguments.plot)
        except (OSError, ValueError) as error:
            print(f"no plot: {error}", file=sys.stderr)
            return 1
    return 0 if report.is_clean(results) else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
