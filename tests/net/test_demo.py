"""``meshctl demo`` shows what it claims, sees when a claim is false, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import mesh
from mesh.cli.demo import run_demo
from tests.net.processes import ROOT, Script, until

RUN_SECONDS = 60.0
PROCESSES = 7

BROKEN_ROLE = """
import os, sys
from mesh.cli.demo import role

faults, name, mesh_name = sys.argv[1].split(", "), sys.argv[2], sys.argv[3]
build, report = role.build, role.report

def built(name, mesh_name):
    node = build(name, mesh_name)
    if "display hears too much" in faults and name == "display":
        node.subscriber("sensors.>", inline=True)(
            lambda m: report(got="sensor", subject=m.subject, data=m.data)
        )
    if "display joins" in faults and name == "display":
        node.member("workers", inline=True)(lambda m: report(got="broadcast", data=m.data))
    return node

TWICE = {
    "broadcasts come twice": ("broadcast", 3),
    "a job comes twice": ("job begun", [5, False]),
    "an order is billed twice": ("billed", 3),
}

def reported(**what):
    got, data = what.get("got"), what.get("data")
    if "a mark is lost" in faults and got == "job begun":
        what["data"] = [data[0], False]
    if "a key loses its order" in faults and (got, data) == ("job done", ["user:0", 7]):
        what["data"] = ["user:0", 6]
    if "an order is lost" in faults and got == "order" and data == 5:
        return
    report(**what)
    if (got, data) in [TWICE.get(fault) for fault in faults]:
        report(**what)

role.build, role.report = built, reported
if "does not start" in faults and name == "archive":
    sys.exit("no room on the shelf")
if "leaves without a word" in faults:
    with built(name, mesh_name) as node:
        report(ready=node.id)
        sys.stdin.read()
        os._exit(0)
role.main(name, mesh_name)
"""


def demo(*options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mesh.cli", "demo", *options],
        cwd=ROOT,
        env=os.environ | {"MESH_KEY": "of another mesh", "MESH_SEEDS": "127.0.0.1:9"},
        capture_output=True,
        text=True,
        timeout=RUN_SECONDS,
        check=False,
    )


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def is_running(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return status.rpartition(")")[2].split()[0] not in ("Z", "X")


def test_every_claim_of_the_demo_holds_and_is_told_as_json() -> None:
    done = demo("--json")
    document = json.loads(done.stdout)
    assert (done.returncode, done.stderr) == (0, "")
    assert document["ok"] is True
    failed = [check for check in document["checks"] if not check["ok"]]
    assert failed == []
    claims = " ".join(check["claim"] for check in document["checks"])
    for effect in ("found", "calc.add", "spread", "sensors.*.temp", "subscribed", "exactly once",
                   "killed", "retry=True", "death", "goodbye", "jobs", "anew, marked",
                   "queue group", "keys", "owner", "only its keys moved"):  # fmt: skip
        assert effect in claims


def test_the_demo_explains_itself_and_ticks_every_claim() -> None:
    done = demo()
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("\u2713") >= 30
    assert "\u2717" not in done.stdout
    assert "claims held" in done.stdout


FAULTS = (
    {
        "display hears too much": "'sensors.*.temp' got the temperature and nothing else",
        "display joins": "nobody else got any",
        "a job comes twice": "none was given to a second worker without the mark",
        "an order is billed twice": "each of the 60 orders once",
        "a key loses its order": "handled by its owner, in their order",
    },
    {
        "broadcasts come twice": "exactly once",
        "leaves without a word": "said goodbye",
        "a mark is lost": "another began it anew, marked",
        "an order is lost": "without a group got all of them",
    },
)
"""Faults of one run, each in another effect, and the claim that must fail for it."""


@pytest.mark.parametrize("faults", FAULTS)
def test_each_broken_effect_is_seen(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], faults: dict[str, str]
) -> None:
    program = tmp_path / "broken_role.py"
    program.write_text(BROKEN_ROLE)
    role_command = (sys.executable, str(program), ", ".join(faults))
    assert run_demo(as_json=True, role_command=role_command) is False
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert document["ok"] is False
    failed = {check["claim"]: check["seen"] for check in document["checks"] if not check["ok"]}
    for claim in faults.values():
        assert any(claim in found for found in failed), (claim, failed)
    assert all(failed.values())


@pytest.mark.parametrize(
    ("verb", "claims"),
    [
        ("owner", ("who was next", "only its keys moved")),
        ("owners", ("each call with a key was served by its owner",)),
    ],
)
def test_an_owner_who_is_another_than_was_said_is_seen(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    verb: str,
    claims: tuple[str, ...],
) -> None:
    """The demo's own node names the last of the candidates for the first."""
    owners = mesh.Node.owners
    wrong: dict[str, Callable[..., Any]] = {
        "owner": lambda node, name, key: owners(node, name, key)[-1],
        "owners": lambda node, name, key: owners(node, name, key)[::-1],
    }
    monkeypatch.setattr(mesh.Node, verb, wrong[verb])
    assert run_demo(as_json=True) is False
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    failed = " ".join(check["claim"] for check in document["checks"] if not check["ok"])
    assert all(claim in failed for claim in claims), failed


def test_a_process_that_does_not_start_is_told_with_its_last_words(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    program = tmp_path / "broken_role.py"
    program.write_text(BROKEN_ROLE)
    command = (sys.executable, str(program), "does not start")
    assert run_demo(role_command=command) is False
    told = capsys.readouterr().out
    assert told.count("\u2717") == 1
    assert "no room on the shelf" in " ".join(told.split())


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -signal.SIGKILL)],
)
def test_however_the_demo_ends_its_processes_end_too(number: signal.Signals, code: int) -> None:
    run = Script(["-m", "mesh.cli", "demo"])
    try:
        pids = until(lambda: pids if len(pids := children(run.pid)) == PROCESSES else None)
        assert pids is not None
        run.signal(number)
        assert run.wait() == code
        until(lambda: not any(is_running(pid) for pid in pids))
        assert "Traceback" not in run.errors
    finally:
        run.end()


def test_a_demo_that_loses_a_process_of_its_own_fails_and_ends() -> None:
    run = Script(["-m", "mesh.cli", "demo"])
    try:
        pids = until(lambda: pids if len(pids := children(run.pid)) == PROCESSES else None)
        assert pids is not None
        os.kill(pids[-1], signal.SIGKILL)
        assert run.wait(RUN_SECONDS) == 1
        assert not any(is_running(pid) for pid in pids)
        assert run.process.stdout is not None
        assert "\u2717" in run.process.stdout.read()
    finally:
        run.end()
