"""All pages: each block of code is run by a test, or stands here with the reason why not.

Whole programs are run by `tests/test_readme.py` (its ``PAGES``) and by the tests in ``BY_OTHERS``.
What is here: fragments of programs, each in surroundings that fit it; files for other programs (unit
files, manifests, rules); and every command line, which must at least be one.

Surprise: a new page, or a new language of blocks, fails here until somebody says what tests it.
"""

from __future__ import annotations

import asyncio
import configparser
import importlib.util
import json
import re
import shlex
import shutil
import subprocess
import sys
import textwrap
import tomllib
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import click
import pytest

import mesh
from mesh.engine.liveness import PROBE_AGAIN, SUSPICION, UNRESPONSIVE_AFTER
from mesh.links.outbox import PENDING_BYTES, STALLED_AFTER, WINDOW_BYTES
from mesh.ring import Ring
from mesh.serving import DRAIN_TIMEOUT
from mesh.testing import SimMesh
from patterns.backlog import DEFAULT_BUFFER
from tests.net.identities import Mint
from tests.test_readme import PAGES, PROGRAM_END, programs
from tests.unit.mesh.cli.test_help import parse

ROOT = Path(__file__).resolve().parent.parent
PATHS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
TEXTS = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in PATHS}

BY_OTHERS = {
    "docs/embedding.md": "tests/test_embedding.py",
    "docs/resilience.md": "tests/test_resilience_page.py",
    "docs/permissions.md": "tests/test_permissions_page.py",
}
"""Pages whose Python, beyond what is run here, has a test of its own."""

NOT_RUN = {
    "text": "what is shown, not run",
    "dockerfile": "takes a container engine; the process in it is run by tests/test_embedding.py",
    "js": "run in tests/interop, where there are Node and the packages",
}
"""Languages -> why their blocks are not run here."""

NEEDS_OTHERS = {
    ".": "enters a virtual environment, as in the README",
    "curl": "asks the server of the example",
    "docker": "takes a container engine",
    "journalctl": "takes systemd",
    "kubectl": "takes a cluster",
    "nc": "goes to another machine",
    "pip": "changes this environment; .ci/run does it",
    "sudo": "changes this machine",
    "tail": "gives what another program writes",
    ".venv/bin/pip": "the same, with tests/test_readme.py",
    "python3": "the same, with tests/test_readme.py",
}
"""Programs of shown command lines that are not ours -> why they are not run."""

AWAITED_VARIABLES = {"MESH_METRICS_PORT"}
"""Shown on a page, and read by the code as soon as a node has metrics."""

CLOSES_WITHIN = 3
"""Seconds from the end of a drain to that of ``run``, as the pages say."""


class Block(NamedTuple):
    page: str
    line: int
    language: str
    text: str


def blocks_of(page: str, text: str) -> Iterator[Block]:
    for found in re.finditer(
        r"^( *)```([\w-]*)\n(.*?)^\1```$", text, flags=re.MULTILINE | re.DOTALL
    ):
        line = text.count("\n", 0, found.start()) + 1
        yield Block(page, line, found[2], textwrap.dedent(found[3]))


BLOCKS = [block for page, text in TEXTS.items() for block in blocks_of(page, text)]


def of(*languages: str, page: str | None = None) -> list[Block]:
    return [b for b in BLOCKS if b.language in languages and page in (None, b.page)]


def named(block: Block) -> str:
    return f"{block.page}:{block.line}"


def file_on(page: str, name: str) -> str:
    """The block of a page whose first line has that file name."""
    (found,) = [b.text for b in BLOCKS if b.page == page and b.text.startswith(f"# {name}\n")]
    return found


# Python


def fragments() -> list[Block]:
    """Python that is no whole program of a page that is executed by another test."""
    return [b for b in of("python", "py") if b.language == "py" or not _is_run_elsewhere(b)]


def _is_run_elsewhere(block: Block) -> bool:
    is_program = re.match(r"# [\w.]+\.py\n", block.text) is not None
    return block.page in PAGES or (is_program and block.page in BY_OTHERS)


def run(block: Block, **names: Any) -> dict[str, Any]:
    names |= {"mesh": mesh, "asyncio": asyncio}
    exec(compile(block.text, named(block), "exec"), names)
    return names


def _makes_options(block: Block, folder: Path) -> None:
    run(block, node=mesh.Node("shop", discovery=()))


def _subscribes(block: Block, folder: Path) -> None:
    with mesh.Node("screen", discovery=()) as node:
        made = run(block, node=node)
        assert made["prices"].missed == made["ledger"].missed == 0


def _has_an_identity(block: Block, folder: Path) -> None:
    mint = Mint(folder, "lab")
    name, path = re.findall(r'"([^"]+)"', block.text)
    text = block.text.replace(path, str(mint.identity("thermometer")))
    assert run(block._replace(text=text))["node"].mesh == "lab"
    assert name == "thermometer"


def _has_a_policy(block: Block, folder: Path) -> None:
    if "mesh.Rule" in block.text:
        return  # by tests/test_permissions_page.py
    Mint(folder, "lab").identity("shop-1")
    (policy,) = of("toml", page=block.page)
    (folder / "policy.toml").write_text(policy.text, encoding="utf-8")
    assert run(block)["node"].name == "shop"


def _owns(block: Block, folder: Path) -> None:
    run(block)


def _shrinks(block: Block, folder: Path) -> None:
    made = run(block, steps=list(range(40)), fails=lambda steps: {7, 31} <= set(steps))
    assert list(made["minimal"]) == [7, 31]


def _is_one_assignment(block: Block, folder: Path) -> None:
    assert run(block)["pytest_plugins"] == ["mesh.testing.plugin"]
    assert importlib.util.find_spec("mesh.testing.plugin") is not None


def _answers_a_stream(block: Block, folder: Path) -> None:
    node = mesh.AsyncNode("exposer")
    run(block, node=node)
    with SimMesh(seed=1) as sim:
        sim.add(node)
        client = sim.node("client")

        async def body() -> bytes:
            await client.wait_for("web")
            async with await client.open_stream("web") as stream:
                await stream.write(b"hello")
                return await stream.read(timeout=5)

        assert sim.run(body()) == b"HELLO"


def _works_on_what_it_owns(block: Block, folder: Path) -> None:
    """Each of the three, with stand-ins for what they call; on virtual time."""
    node, another = mesh.AsyncNode("cart"), mesh.AsyncNode("cart")
    asked: list[Any] = []
    carts = {f"user:{number}": number for number in range(20)}
    another.on_ownership("cart")(lambda change: None)
    if "request.fence" in block.text:
        node.on_ownership("cart")(lambda change: None)

    async def note(*args: Any, **more: Any) -> None:
        asked.append((args, more))

    run(
        block,
        node=node,
        carts=carts,
        store=SimpleNamespace(write=note),
        db=SimpleNamespace(execute=note),
        bill_next=note,
    )
    with SimMesh(seed=1) as sim:
        sim.add(node)
        shop = sim.node("shop")

        async def body() -> None:
            await shop.wait_for("cart")
            await asyncio.sleep(130)
            if "request.fence" in block.text:
                await shop.service("cart", key="user:7").add("tea")
            if "on_ownership" in block.text:
                sim.add(another)
                await asyncio.sleep(10)

        sim.run(body())
    if "singleton" in block.text:
        assert len(asked) == 3
        assert asked[0][1]["fence"] > 0
    elif "request.fence" in block.text:
        (((sql, fence, key), _),) = asked
        assert (sql.startswith("UPDATE"), fence > 0, key) == (True, True, "user:7")
    else:
        assert 0 < len(asked) < 20
        assert {key for (key, _), _ in asked} == {f"user:{n}" for n in range(20)} - set(carts)


def _serves(block: Block, folder: Path) -> None:
    """A program that serves, in this process; ``run`` ends by ``close`` from this thread."""
    import threading

    source = block.text.replace("logging.basicConfig(", "dict(")
    head, _, run_line = source.rstrip().rpartition("\n")
    assert run_line.startswith("node.run(")
    node = run(block._replace(text=head))["node"]
    serving = threading.Thread(target=eval, args=(run_line.partition("  #")[0], {"node": node}))
    serving.start()
    try:
        with mesh.Node("asker") as asker:
            assert asker.call("calc.add", 2, 3) == 5
            (peer,) = asker.peers()
            assert peer.instance in (f"{block.page}-0", peer.id)
    finally:
        node.close()
        serving.join(PROGRAM_END)
    assert not serving.is_alive()


FRAGMENTS: dict[str, Callable[[Block, Path], None]] = {
    "docs/calls.md": _makes_options,
    "docs/delivery.md": _subscribes,
    "docs/identities.md": _has_an_identity,
    "docs/kubernetes.md": _serves,
    "docs/ownership.md": _works_on_what_it_owns,
    "docs/permissions.md": _has_a_policy,
    "docs/ring.md": _owns,
    "docs/simulation.md": _shrinks,
    "docs/systemd.md": _serves,
    "docs/testing.md": _is_one_assignment,
    "docs/tunnels.md": _answers_a_stream,
}


@pytest.fixture
def _apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mesh of its own in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    for name in ("MESH_KEY", "MESH_IDENTITY", "MESH_SEEDS", "MESH_HOST", "MESH_POLICY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MESH_NAME", f"pages-{tmp_path.name}"[:64])


@pytest.mark.usefixtures("_apart")
@pytest.mark.parametrize("block", fragments(), ids=named)
def test_a_fragment_runs(block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert block.page in FRAGMENTS, "nothing runs this block: a program that a transcript shows?"
    for name in ("POD_NAME", "CALC_INSTANCE"):
        monkeypatch.setenv(name, f"{block.page}-0")
    FRAGMENTS[block.page](block, tmp_path)


def test_each_page_with_programs_is_run_by_somebody() -> None:
    with_python = {block.page for block in of("python", "py")}
    assert with_python == (set(PAGES) | set(BY_OTHERS) | set(FRAGMENTS)) & with_python
    assert set(PAGES) | set(BY_OTHERS) | set(FRAGMENTS) <= with_python
    for page, test in BY_OTHERS.items():
        assert f'"{page}"' in (ROOT / test).read_text(encoding="utf-8"), test


# Command lines


def command_lines() -> list[tuple[str, str]]:
    """What is to be typed: after a $ in a transcript, each line of a script."""
    found = []
    for block in of("console", "sh", ""):
        for line in block.text.replace("\\\n", " ").splitlines():
            is_shown = line.startswith("$ ")
            is_ours = re.match(r"(meshctl|pytest|python) [\w-]", line) is not None
            if is_shown or block.language == "sh" or (block.language == "" and is_ours):
                found.append((named(block), line.removeprefix("$ ").strip()))
    return [(where, line) for where, line in found if line and not line.startswith("#")]


def commands(line: str) -> Iterator[list[str]]:
    """The words of each program that a line runs."""
    words = shlex.split(line, comments=True)
    while words:
        end = next((n for n, word in enumerate(words) if word in ("&&", "|", ";")), len(words))
        yield words[:end]
        words = words[end + 1 :]


@cache
def script_names() -> frozenset[str]:
    return frozenset(name for text in PAGES.values() for name in programs(text)) | {
        match[1] for b in of("python") if (match := re.match(r"# ([\w.]+\.py)\n", b.text))
    }


def why_not_a_command(words: list[str]) -> str:
    """What is wrong with it; "" if nothing is."""
    program, *rest = words
    if program in NEEDS_OTHERS or program in ("export", "echo"):
        return ""
    if program.removeprefix(".venv/bin/") == "meshctl":
        return _why_not_meshctl(rest)
    if program == "python" and rest[0] == "-m":
        program, *rest = rest[1:]
        if program != "pytest":
            return "" if importlib.util.find_spec(program) else f"no module {program}"
    if program == "python":
        return "" if rest[0] in script_names() else f"no page has {rest[0]}"
    if program.removeprefix(".venv/bin/") == "pytest":
        paths = [word.partition("::")[0] for word in rest if word.startswith("tests/")]
        return "".join(f"no {path}" for path in paths if not (ROOT / path).exists())
    return f"nobody says why {program} is not run: NEEDS_OTHERS"


def _why_not_meshctl(words: list[str]) -> str:
    try:
        parse(shlex.join(["meshctl", *words]))
    except click.exceptions.Exit:
        return ""  # --help
    except click.UsageError as error:
        return error.format_message()
    return ""


@pytest.mark.usefixtures("_apart")
def test_each_command_line_is_one() -> None:
    lines = command_lines()
    assert len(lines) > 100
    wrong = [
        (where, line, why)
        for where, line in lines
        for words in commands(line)
        if (why := why_not_a_command(words))
    ]
    assert wrong == []


@pytest.mark.parametrize(
    "line", ["meshctl peers --wacth", "pytest tests/none.py", "python -m mesh.none", "ruby x"]
)
def test_a_wrong_command_line_is_found_out(line: str) -> None:
    assert why_not_a_command(shlex.split(line))


# Files for other programs


def test_each_language_is_known() -> None:
    tested = {"", "python", "py", "console", "sh", "toml", "json", "ini", "yaml", "nft"}
    assert {block.language for block in BLOCKS} == tested | set(NOT_RUN)


@pytest.mark.parametrize("block", of("toml", "json"), ids=named)
def test_toml_and_json_parse(block: Block) -> None:
    loads = tomllib.loads if block.language == "toml" else json.loads
    assert loads(block.text)


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
    return set(re.findall(r'"(MESH_[A-Z_]+)"', "".join(sources))) | AWAITED_VARIABLES


def test_the_pages_name_variables_that_are_read() -> None:
    shown = {name for text in TEXTS.values() for name in re.findall(r"\bMESH_[A-Z_]+\b", text)}
    assert len(shown) > 8
    of_tests = {"MESH_SIM_SEED", "MESH_SOAK_SECONDS"}
    of_commands = {"MESH_CONFIG", "MESH_PROFILE"}
    assert shown - variables_read() - of_tests - of_commands == set()


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
@pytest.mark.usefixtures("_apart")
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
    text = TEXTS["docs/concepts.md"]
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
