"""One role of one system in a process of its own; started by the harness, not by hand.

`python -m benchmarks.worker SYSTEM ROLE LIFETIME_S PIN PARAMS` imports `benchmarks.systems.SYSTEM`
(which imports the system under test) and runs its role. After LIFETIME_S seconds the process dumps
its stacks and dies, whatever it is doing. PIN is a CPU number, or `-` for any.
"""

from __future__ import annotations

import faulthandler
import importlib
import json
import os
import sys

from benchmarks.control import Control
from benchmarks.systems import Role


def main(argv: list[str]) -> None:
    system, role_name, lifetime_s, pin, params = argv
    faulthandler.dump_traceback_later(float(lifetime_s), exit=True)
    if pin != "-":
        os.sched_setaffinity(0, {int(pin)})  # before any library starts a thread
    control = Control()
    roles: dict[str, Role] = importlib.import_module(f"benchmarks.systems.{system}").ROLES
    roles[role_name](control, json.loads(params))


if __name__ == "__main__":
    main(sys.argv[1:])
