"""Several doctors in one process, each for a mesh of its own: they mostly wait, and a process costs
half a second of CPU to start.

The argument is a JSON array of objects: ``focus`` and the fields of ``mesh.cli.options.Options``.
Prints an array of what ``meshctl doctor --json`` prints for each.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from mesh.cli.doctor.diagnose import diagnose
from mesh.cli.doctor.facts import Focus
from mesh.cli.doctor.gather import gather
from mesh.cli.doctor.render import as_document
from mesh.cli.options import Options
from mesh.cli.values import to_json


async def examine(focus: str | None = None, **options: Any) -> dict[str, object]:
    wanted = Focus.of(focus) if focus is not None else None
    facts = await gather(Options(**options), wanted, lambda what: None)
    return as_document(facts, diagnose(facts))


async def main(jobs: list[dict[str, Any]]) -> None:
    done = await asyncio.gather(*(examine(**job) for job in jobs))
    sys.stdout.write(to_json(done))


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
