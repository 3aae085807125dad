"""Two machines talk, encrypted, in the two commands each that the README has."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.multihost.lab import Lab
from tests.net.processes import Script
from tests.test_readme import README

KEYED = re.compile(r"```sh\n(export MESH_KEY=.*?)```", re.DOTALL)


def test_two_machines_talk_in_two_commands_each(lab: Lab, tmp_path: Path) -> None:
    block = KEYED.search(README)
    assert block is not None
    first, second = block[1].strip().split("\n\n")
    (export, serve), (again, call) = first.splitlines(), second.splitlines()
    assert export.partition("#")[0] == again.partition("#")[0]
    key = re.search(r'"(.*)"', export)
    assert key is not None
    assert serve == "python calc.py"
    program = re.search(r"```python\n# calc\.py\n(.*?)```", README, re.DOTALL)
    assert program is not None
    (tmp_path / "calc.py").write_text(program[1])
    environment = {"MESH_KEY": key[1], "MESH_CONFIG": os.devnull}
    one, other = lab.host("one"), lab.host("other")
    calc = Script([str(tmp_path / "calc.py")], environment, one.command)
    try:
        words = call.split()
        assert words[0] == "meshctl"
        done = subprocess.run(
            [*other.command, sys.executable, "-m", "mesh.cli", *words[1:]],
            env={k: v for k, v in os.environ.items() if not k.startswith("MESH_")} | environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (done.returncode, done.stdout.strip()) == (0, "5"), done.stderr
    finally:
        calc.end()
