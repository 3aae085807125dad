"""All pages: each block of code is run by a test, or stands here with the reason why not.

Whole programs are run by `tests/test_readme.py` (its ``PAGES``) and by the tests in ``BY_OTHERS``.
What is here: fragments of programs, each in surroundings that fit it, and every command line, which
must at least be one. Manifests, unit files and rules: `tests/test_howto.py`.

Surprise: a new page, or a new language of blocks, fails here until somebody says what tests it.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import re
import shlex
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
from mesh.testing import SimMesh
from tests.net.identities import Mint
from tests.test_readme import PAGES, PROGRAM_END, programs
from tests.unit.mesh.cli.test_help import parse

ROOT = Path(__file__).resolve().parent.parent
PATHS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
TEXTS = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in PATHS}

BY_OTHERS = {
    "docs/embedding.md": "tests/test_embedding.py",
    "docs/queues.md": "tests/test_queues_page.py",
    "docs/resilience.md": "tests/test_resilience_page.py",
    "docs/permissions.md": "tests/test_permissions_page.py",
    "docs/observability.md": "tests/unit/mesh/metrics/test_page.py",
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
    "jq": "takes the program jq",
    "kubectl": "takes a cluster",
    "nc": "goes to another machine",
    "pip": "changes this environment; .ci/run does it",
    "sudo": "changes this machine",
    "tail": "gives what another program writes",
    ".venv/bin/pip": "the same, with tests/test_readme.py",
    "python3": "the same, with tests/test_readme.py",
}
"""Programs of shown command lines that are not ours -> why they are not run."""


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


# Python


def fragments() -> list[Block]:
    """Python that is no whole program of a page that is executed by another test."""
    return [b for b in of("python", "py") if b.language == "py" or not _is_run_elsewhere(b)]


def _is_run_elsewhere(block: Block) -> bool:
    is_program = re.match(r"# [\w.]+\.py\n", block.text) is not None
    return block.page in PAGES or (is_program and block.page in BY_OTHERS)


def run(block: Block, **names: Any) -> dict[str, Any]:
    names |= {"mesh": mesh, "asyncio": asyncio}
    exec(compile(block.text, named(block), "exec"), names)  # noqa: S102  # our own pages
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
