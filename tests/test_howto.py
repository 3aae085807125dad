"""The pages on Kubernetes, systemd, firewalls, concepts and the comparison: their files and facts.

Manifests, units and rules are read by the programs that they are for, where those are installed,
and compared with each other and with the code; so are figures in pictures and tables.
"""

from __future__ import annotations

import configparser
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import mesh
from mesh.engine.liveness import PROBE_AGAIN, SUSPICION, UNRESPONSIVE_AFTER
from mesh.links.outbox import PENDING_BYTES, STALLED_AFTER, WINDOW_BYTES
from mesh.ring import Ring
from mesh.serving import DRAIN_TIMEOUT
from patterns.backlog import DEFAULT_BUFFER
from tests.test_pages import BLOCKS, ROOT, TEXTS, of
from tests.test_readme import PROGRAM_END

CLOSES_WITHIN = 3
"""Seconds from the end of a drain to that of ``run``, as the pages say."""


def file_on(page: str, name: str) -> str:
    """The block of a page whose first line has that file name."""
    (found,) = [b.text for b in BLOCKS if b.page == page and b.text.startswith(f"# {name}\n")]
    return found


def documents(page: str) -> list[dict[str, Any]]:
    yaml = pytest.importorskip("yaml", reason="it comes with mkdocs, and so with the extra 'test'")
    return [found for b in of("yaml", page=page) for found in yaml.safe_load_all(b.text)]


KUBERNETES = "docs/kubernetes.md"


def manifests(kind: str) -> list[dict[str, Any]]:
    found = [found for found in documents(KUBERNETES) if found.get("kind") == kind]
    assert found
    return found


def variables_read() -> set[str]:
    sources = (path.read_text(encoding="utf-8") for path in (ROOT / "mesh").rglob("*.py"))
    return set(re.findall(r'"(MESH_[A-Z_]+)"', "".join(sources)))


def test_the_pages_name_variables_that_are_read() -> None:
    shown = {name for text in TEXTS.values() for name in re.findall(r"\bMESH_[A-Z_]+\b", text)}
    assert len(shown) > 8
    of_tests = {"MESH_BACKLOG", "MESH_SIM_SEED", "MESH_SOAK_SECONDS"}
    of_commands = {"MESH_CONFIG", "MESH_PROFILE"}
    a_slip = {"MESH_SEED"}  # of which "config check" says so
    assert shown - variables_read() - of_tests - of_commands == a_slip


def test_the_manifests_set_variables_that_are_read() -> None:
    workloads = [*manifests("StatefulSet"), *manifests("Deployment")]
    for workload in workloads:
        (container,) = workload["spec"]["template"]["spec"]["containers"]
        names = {variable["name"] for variable in container["env"]}
        assert {"MESH_NAME", "MESH_KEY", "MESH_SEEDS"} <= names
        assert names <= variables_read() | {"POD_NAME"}
    (compose,) = [found for found in documents(KUBERNETES) if "services" in found]
    for service in compose["services"].values():
        assert set(service["environment"]) <= variables_read()
        assert service["environment"]["MESH_SEEDS"] == "calc:7946"


def test_the_manifests_fit_together_and_to_the_program() -> None:
    program = file_on(KUBERNETES, "calc.py")
    port = int(re.findall(r"port=(\d+)", program)[0])
    drain = int(re.findall(r"run\(drain=(\d+)\)", program)[0])
    (service,), (stateful,) = manifests("Service"), manifests("StatefulSet")
    (secret,), (policy,) = manifests("Secret"), manifests("NetworkPolicy")
    name, namespace = service["metadata"]["name"], service["metadata"]["namespace"]
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["publishNotReadyAddresses"] is True
    assert service["spec"]["ports"] == [{"name": "mesh", "port": port}]
    assert stateful["spec"]["serviceName"] == name
    seeds = f"{name}.{namespace}.svc.cluster.local:{port}"
    assert f"_mesh._tcp.{name}.{namespace}.svc.cluster.local" in TEXTS[KUBERNETES]
    rules, others = policy["spec"]["ingress"]
    allowed = {(p["port"], p.get("endPort", p["port"])) for p in rules["ports"]}
    for workload in (stateful, *manifests("Deployment")):
        assert workload["metadata"]["namespace"] == namespace
        template = workload["spec"]["template"]
        labels, pod = template["metadata"]["labels"], template["spec"]
        assert workload["spec"]["selector"]["matchLabels"].items() <= labels.items()
        assert policy["spec"]["podSelector"]["matchLabels"].items() <= labels.items()
        assert pod["terminationGracePeriodSeconds"] >= drain + CLOSES_WITHIN
        (sysctl,) = pod["securityContext"]["sysctls"]
        assert allowed == {(port, port), tuple(map(int, sysctl["value"].split()))}
        (container,) = pod["containers"]
        environment = {v["name"]: v for v in container["env"]}
        assert environment["MESH_SEEDS"]["value"] == seeds
        reference = environment["MESH_KEY"]["valueFrom"]["secretKeyRef"]
        assert reference["name"] == secret["metadata"]["name"]
        assert reference["key"] in secret["stringData"]
        ports = {p["name"]: p["containerPort"] for p in container["ports"]}
        assert ports["metrics"] == int(environment["MESH_METRICS_PORT"]["value"])
        assert others["ports"] == [{"protocol": "TCP", "port": ports["metrics"]}]
        assert container["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "metrics"}
    assert service["spec"]["selector"].items() <= (
        stateful["spec"]["template"]["metadata"]["labels"].items()
    )


def test_the_unit_gives_run_the_time_it_needs() -> None:
    parser = configparser.ConfigParser(strict=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(file_on("docs/systemd.md", "calc@.service"))
    service = parser["Service"]
    assert service["KillSignal"] == "SIGTERM"
    assert service["Restart"] == "on-failure"
    assert int(service["TimeoutStopSec"]) >= DRAIN_TIMEOUT + CLOSES_WITHIN
    assert "AF_NETLINK" in service["RestrictAddressFamilies"]


def test_systemd_finds_nothing_wrong_with_the_unit(tmp_path: Path) -> None:
    verify = shutil.which("systemd-analyze")
    if verify is None:
        pytest.skip("systemd-analyze is not installed")
    text = file_on("docs/systemd.md", "calc@.service")
    # What is not on this machine: the interpreter and the user of the example.
    text = text.replace("/opt/calc/.venv/bin/python", sys.executable).replace("=calc\n", "=root\n")
    path = tmp_path / "calc@1.service"
    path.write_text(text, encoding="utf-8")
    done = subprocess.run(
        [verify, "verify", str(path)], capture_output=True, text=True, timeout=PROGRAM_END
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_rules_of_the_firewall_are_rules(tmp_path: Path) -> None:
    nft = shutil.which("nft")
    if nft is None:
        pytest.skip("nft is not installed")

    def check(text: str) -> subprocess.CompletedProcess[str]:
        path = tmp_path / "mesh.nft"
        path.write_text(text, encoding="utf-8")
        command = [nft, "--check", "--file", str(path)]
        return subprocess.run(command, capture_output=True, text=True, timeout=PROGRAM_END)

    if check("table inet mesh {}\n").returncode != 0:
        pytest.skip("this user may not ask the kernel about rules")
    done = check(file_on("docs/firewalls.md", "mesh.nft"))
    assert (done.returncode, done.stderr) == (0, "")


# Facts of pages that no other test has


def listening_ports() -> set[int]:
    """TCP ports on which this process listens."""
    ours = set()
    for descriptor in Path("/proc/self/fd").iterdir():
        try:
            ours.add(str(descriptor.readlink()))
        except FileNotFoundError:
            continue  # that of this very listing
    ports = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/self/net/{table}").read_text(encoding="ascii").splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in ours:
                ports.add(int(fields[1].rpartition(":")[2], 16))
    return ports


@pytest.mark.skipif(not Path("/proc/self/net/tcp").exists(), reason="it takes Linux's /proc")
@pytest.mark.parametrize(
    ("options", "drawn"), [({}, 2), ({"key": mesh.generate_key()}, 3), ({"plain": True}, 2 + 2)]
)
def test_a_node_listens_on_as_many_ports_as_the_page_says(
    options: dict[str, Any], drawn: int
) -> None:
    before = listening_ports()
    with mesh.Node("calc", host="127.0.0.1", discovery=(), **options) as node:
        ports = listening_ports() - before
        assert int(node.me.address.rpartition(":")[2]) in ports
        assert len(ports) == 1 + drawn
    assert "two more, drawn; three with a key" in TEXTS["docs/firewalls.md"]


def picture(name: str) -> str:
    text = (ROOT / f"docs/images/{name}.svg").read_text(encoding="utf-8")
    return " ".join(re.sub(r"<[^>]+>", " ", text).split())


def test_the_pictures_state_the_figures_of_the_code() -> None:
    window, membership = picture("window"), picture("membership")
    assert f"at most {PENDING_BYTES // 2**20} MiB" in window
    assert f"the window: {WINDOW_BYTES // 2**20} MiB" in window
    assert f"has stalled ({STALLED_AFTER:g} s)" in window
    assert f"{DEFAULT_BUFFER:,} messages" in window
    assert f"nothing for {UNRESPONSIVE_AFTER:g} s" in membership
    assert f"{SUSPICION:g} s more" in membership
    assert f"{PROBE_AGAIN * 1000:g} ms apart" in membership


def test_the_picture_of_the_ring_is_right() -> None:
    shown = picture("ring")
    names = [f"calc-{number}" for number in range(3)]
    ring = Ring((SimpleNamespace(id=name), name, 1.0) for name in names)
    for member, score in ring.scores(b"user:7"):
        assert f"{member.id} {score:.2f}" in shown
    owner, following = (member.id for member in ring.owners(b"user:7", 2))
    assert re.search(rf"{owner} [\d.]+ the owner", shown)
    assert re.search(rf"{following} [\d.]+ next, if {owner} goes", shown)
    assert "slot 39593" in shown  # a test vector of docs/ring.md


def test_each_picture_is_shown_and_can_be_read_aloud() -> None:
    text = TEXTS["docs/concepts.md"] + TEXTS["docs/meshctl.md"]
    shown = re.findall(r"!\[([^\]]+)\]\((images/[\w.]+)\)", text)
    assert {path for _, path in shown} == {
        f"images/{path.name}" for path in (ROOT / "docs/images").iterdir()
    }
    for _, path in shown:
        source = (ROOT / "docs" / path).read_text(encoding="utf-8")
        assert "<title" in source
        assert "http" not in source.replace('xmlns="http://www.w3.org/2000/svg"', "")


def rows(text: str) -> dict[str, list[str]]:
    """First cell -> the others, of all tables."""
    lines = re.findall(r"^\| ([^|]+?) \|(.*)\|$", text, flags=re.MULTILINE)
    return {name: [cell.strip() for cell in cells.split("|")] for name, cells in lines}


def test_the_comparison_has_figures_of_the_results_and_no_others() -> None:
    results = (ROOT / "benchmarks/RESULTS.md").read_text(encoding="utf-8")
    section = TEXTS["docs/comparison.md"].partition("## Measured")[2].partition("## Coming")[0]
    header = re.findall(r"^\| \|(.*)\|$", section, flags=re.MULTILINE)[0].split("|")
    contestants = [name.strip().removesuffix(" pyzmq") for name in header]
    checked = 0
    for name, cells in rows(section).items():
        for contestant, cell in zip(contestants, cells, strict=True):
            found = re.match(r"[\d.,]+(?: [kM])?", cell)
            if found is None:
                continue
            measured = re.findall(rf"^\| {contestant} \|.*$", results, flags=re.MULTILINE)
            assert any(f"| {found[0]} " in line for line in measured), (name, contestant, cell)
            checked += 1
    assert checked > 20
