"""``docs/grafana/mesh.json``: it can be imported, and asks for what is there."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from mesh.metrics.families import FAMILIES

ROOT = Path(__file__).resolve().parents[4]
BOARD: dict[str, Any] = json.loads((ROOT / "docs/grafana/mesh.json").read_text(encoding="utf-8"))
PANELS: list[dict[str, Any]] = [panel for panel in BOARD["panels"] if panel["type"] != "row"]
QUERIES = [target["expr"] for panel in PANELS for target in panel["targets"]]

OF_PROCESS = {
    "process_cpu_seconds_total",
    "process_resident_memory_bytes",
    "process_open_fds",
    "process_max_fds",
}


def asked_for(query: str) -> set[str]:
    return set(re.findall(r"\b(?:mesh|process)_[a-z_]+(?=[{\s),])", query))


def exported() -> set[str]:
    plain = {family.name for family in FAMILIES if family.kind != "histogram"}
    return plain | {f"{f.name}_bucket" for f in FAMILIES if f.kind == "histogram"} | OF_PROCESS


def test_it_has_what_an_import_needs() -> None:
    assert {"title", "uid", "schemaVersion", "panels", "templating", "time"} <= set(BOARD)
    source, *variables = BOARD["templating"]["list"]
    assert (source["type"], source["query"]) == ("datasource", "prometheus")
    assert [one["name"] for one in variables] == ["mesh", "node", "job"]
    ids = [panel["id"] for panel in BOARD["panels"]]
    assert len(set(ids)) == len(ids)
    for panel in PANELS:
        assert panel["datasource"]["uid"] == "${datasource}"
        assert panel["title"]
        assert panel["description"].endswith((".", "docs/observability.md"))
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])


def test_no_panel_covers_another() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in BOARD["panels"]:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not cells & taken
        taken |= cells


@pytest.mark.parametrize("query", QUERIES)
def test_a_query_asks_for_metrics_that_there_are(query: str) -> None:
    assert asked_for(query)
    assert asked_for(query) <= exported()


def test_labels_of_queries_are_those_of_the_families() -> None:
    labels = {family.name: {*family.labels, "mesh", "node"} for family in FAMILIES}
    labels |= {f"{f.name}_bucket": {*labels[f.name], "le"} for f in FAMILIES}
    for query in QUERIES:
        for grouped in re.findall(r"by \(([^)]*)\)", query):
            known = set.union(*(labels[name] for name in asked_for(query)))
            assert set(re.split(r",\s*", grouped)) <= known, query


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_prometheus_can_parse_every_query(tmp_path: Path) -> None:
    rules = [
        {"record": f"q:{number}", "expr": query.replace("$__rate_interval", "1m")}
        for number, query in enumerate(QUERIES)
    ]
    path = tmp_path / "rules.json"  # which is YAML as well
    path.write_text(json.dumps({"groups": [{"name": "board", "rules": rules}]}), encoding="utf-8")
    done = subprocess.run(
        ["promtool", "check", "rules", str(path)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(QUERIES)} rules found" in done.stdout
