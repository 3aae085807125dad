"""``meshctl demo``: a mesh of processes on this machine that shows what it claims.

``role`` is the program that the processes run, ``scenes`` are the things shown, ``stage`` is what
scenes work with, ``checks`` keeps what held and what did not.

The rule: a claim is only printed together with what was observed. The processes report what they
handled through their pipes, past the mesh, so the mesh does not vouch for itself.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Sequence

import mesh
from mesh.cli.demo.checks import Checks
from mesh.cli.demo.narrator import Narrator, Silent, Speaking
from mesh.cli.demo.scenes import SCENES
from mesh.cli.demo.stage import LOOPBACK, Stage
from mesh.cli.fleet import Fleet, Trouble, module_command
from mesh.cli.output import print_json

__all__ = ["run_demo"]

OWN_NAME = "you"

ROLE_COMMAND = module_command("mesh.cli.demo.role")

INHERITED = (
    "MESH_KEY",
    "MESH_IDENTITY",
    "MESH_SEEDS",
    "MESH_INSECURE",
    "MESH_HOST",
    "MESH_NAME",
)
"""Settings of the user's own mesh, which the demo must not meet."""


def run_demo(*, as_json: bool = False, role_command: Sequence[str] = ROLE_COMMAND) -> bool:
    """Play all scenes; returns whether every claim held. Every process started is stopped.

    :param as_json: print one document at the end instead of telling as it goes
    :param role_command: the program of the processes; the role and the mesh's name are appended
    """
    for variable in INHERITED:
        os.environ.pop(variable, None)
    narrator: Narrator = Silent() if as_json else Speaking()
    checks = Checks(narrator)
    began = time.monotonic()
    name = f"demo-{secrets.token_hex(4)}"
    narrator.title(name)
    with (
        Fleet(name, role_command) as fleet,
        mesh.Node(OWN_NAME, mesh=name, host=LOOPBACK) as node,
    ):
        stage = Stage(node, fleet, checks)
        for number, scene in enumerate(SCENES, start=1):
            narrator.heading(number, scene.title, scene.words, scene.code)
            try:
                scene.play(stage)
            except (mesh.MeshError, OSError, Trouble) as error:
                checks.check(scene.title, False, f"{type(error).__name__}: {error}")
            if not stage.has_met:
                break
    seconds = time.monotonic() - began
    if as_json:
        print_json(
            {
                "ok": checks.all_held,
                "mesh": name,
                "seconds": round(seconds, 3),
                "checks": checks.as_json(),
            }
        )
    else:
        narrator.end(checks.held, checks.made, seconds)
    return checks.all_held
