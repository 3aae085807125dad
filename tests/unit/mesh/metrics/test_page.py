"""``docs/observability.md`` against the code: metrics, counters, problems, programs."""

from __future__ import annotations

import json
import logging
import re
import uuid
from pathlib import Path

import pytest

from mesh.inspection.health import PROBLEMS, STATUSES
from mesh.metrics.counted import COUNTED
from mesh.metrics.families import FAMILIES

ROOT = Path(__file__).resolve().parents[4]
PAGE = (ROOT / "docs/observability.md").read_text(encoding="utf-8")


def program(name: str) -> str:
    """A program of "docs/observability.md", run in this process."""
    found = re.search(rf"```python\n(# {name}\n.*?)```", PAGE, re.DOTALL)
    assert found
    return found[1]


def test_a_registry_of_ones_own_has_the_node(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MESH_NAME", f"test-{uuid.uuid4().hex[:16]}")
    exec(program("own_registry.py"), {})  # noqa: S102  our own page
    assert capsys.readouterr().out == "True\n"


def test_the_formatter_writes_what_happened_as_json(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MESH_NAME", f"test-{uuid.uuid4().hex[:16]}")
    # Not for all of this process.
    monkeypatch.setattr(logging, "root", logging.RootLogger(logging.WARNING))
    mesh_logger = logging.getLogger("mesh")
    monkeypatch.setattr(mesh_logger, "parent", logging.root)
    exec(program("json_logs.py"), {})  # noqa: S102  our own page
    said = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert {"peer_joined", "peer_left"} <= {one["event"] for one in said}


def test_all_metrics_are_in_its_tables_as_they_are() -> None:
    rows = re.findall(r"^\| `(mesh_\w+)` \| (\w+) \| ([\w, ]*) \| (.+) \|$", PAGE, re.MULTILINE)
    listed = {name: (kind, labels.strip(), text) for name, kind, labels, text in rows}
    counters = dict(re.findall(r"^\| `mesh_(\w+)_total` \| ([^|]+) \|$", PAGE, re.MULTILINE))
    assert counters == COUNTED
    own = [f for f in FAMILIES if f.name not in {f"mesh_{name}_total" for name in COUNTED}]
    assert listed == {f.name: (f.kind, ", ".join(f.labels), f.help) for f in own}


def test_the_rules_ask_for_metrics_that_there_are() -> None:
    names = {family.name for family in FAMILIES}
    asked = set(re.findall(r"\bmesh_[a-z_]+(?=[{\[ ]| ==)", PAGE.partition("rules:")[2][:2000]))
    assert asked
    assert asked <= names


def test_all_problems_and_statuses_are_explained() -> None:
    health = PAGE.partition("## Health")[2].partition("## Metrics")[0]
    assert set(PROBLEMS) <= set(re.findall(r"`([a-z_]+)`", health))
    assert list(STATUSES) == re.findall(r"^\| ([a-z]+) \| (?:yes|no) \|", health, re.MULTILINE)
