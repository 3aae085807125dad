"""The documentation as a site: it builds without a warning and without a network, and is whole.

One build, by the configuration that everybody uses, takes some 8 s of CPU time; so one test makes
it and asks everything of it. Facts of single pages: `tests/test_pages.py`, `tests/test_howto.py`.
"""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import click
import pytest

import mesh
import mesh.testing
from mesh.cli.app import meshctl

ROOT = Path(__file__).resolve().parent.parent
REFERENCE = ROOT / "docs/reference"
BUILD_END = 110.0
"""Seconds, on a machine under load; pytest's own limit is 120."""

NEEDED = ("mkdocs", "material", "mkdocstrings", "mkdocstrings_handlers.python")


class Page(HTMLParser):
    """What a page loads, where it leads, and where it can be led to."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.loads: list[str] = []
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attributes}
        self.anchors.add(found.get("id", ""))
        if tag == "a" and "href" in found:
            self.links.append(found["href"])
        elif tag == "link" and "href" in found and found.get("rel") != "canonical":
            self.loads.append(found["href"])
        elif "src" in found:
            self.loads.append(found["src"])


def is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def build(folder: Path) -> dict[str, Page]:
    """Path on the site -> page."""
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-f", ".mkdocs.yml", "-d"]
    done = subprocess.run(
        [*command, str(folder)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT), "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=BUILD_END,
    )
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr, done.stderr
    return {
        path.relative_to(folder).as_posix(): Page(path) for path in sorted(folder.rglob("*.html"))
    }


def test_the_site_is_built_without_a_warning_and_is_whole(tmp_path: Path) -> None:
    for module in NEEDED:
        if not is_installed(module):
            pytest.skip(f"{module} is not installed: pip install -e '.[test]' brings it")
    site = build(tmp_path)
    each_page_of_the_docs_is_there(site)
    nothing_is_loaded_from_elsewhere(site)
    each_link_leads_somewhere(site)
    the_reference_has_each_public_name(site)
    for face in (mesh.Node, mesh.AsyncNode):
        the_reference_has_each_verb(site, face)
    the_page_of_commands_has_each_command_and_option(site)


def each_page_of_the_docs_is_there(site: dict[str, Page]) -> None:
    sources = [path.relative_to(ROOT / "docs") for path in (ROOT / "docs").rglob("*.md")]
    assert len(sources) > 30
    assert {path.with_suffix(".html").as_posix() for path in sources} <= set(site)
    assert {"tour.html", "changelog.html", "benchmarks/results.html", "reference/cli.html"} <= set(
        site
    )


def nothing_is_loaded_from_elsewhere(site: dict[str, Page]) -> None:
    loaded = [(name, url) for name, page in site.items() for url in page.loads]
    assert loaded
    assert [(name, url) for name, url in loaded if re.match(r"(https?:)?//", url)] == []


def each_link_leads_somewhere(site: dict[str, Page]) -> None:
    by_path = {page.path: page for page in site.values()}
    broken = []
    for name, page in site.items():
        for link in [*page.links, *page.loads]:
            target, _, anchor = unquote(link).partition("#")
            if ":" in target or name == "404.html":
                continue
            path = (page.path.parent / target).resolve() if target else page.path
            is_there = path.is_file()
            if is_there and anchor and path in by_path:
                is_there = anchor in by_path[path].anchors
            if not is_there:
                broken.append((name, link))
    assert broken == []


def the_reference_has_each_public_name(site: dict[str, Page]) -> None:
    pages = [page for name, page in site.items() if name.startswith("reference/")]
    anchors = set().union(*(page.anchors for page in pages))
    names = [f"mesh.{name}" for name in mesh.__all__ if name != "__version__"]
    names += [f"mesh.testing.{name}" for name in mesh.testing.__all__]
    assert [name for name in names if name not in anchors] == []


def the_reference_has_each_verb(site: dict[str, Page], face: type) -> None:
    page = site["reference/node.html" if face is mesh.Node else "reference/async_node.html"]
    shown = {a.rpartition(".")[2] for a in page.anchors if a.startswith(f"mesh.{face.__name__}.")}
    verbs = {name for name in dir(mesh.Node) if not name.startswith("_")} - {"forget"}
    assert verbs - shown - {"name"} == set()
    assert shown <= verbs, "an attribute that is no part of the interface"


def the_page_of_commands_has_each_command_and_option(site: dict[str, Page]) -> None:
    text = site["reference/cli.html"].path.read_text(encoding="utf-8")

    def check(command: click.Command, path: str) -> None:
        assert f">{path}<" in text, path
        for option in command.params:
            if isinstance(option, click.Option):
                assert f"<code>{option.opts[0]}" in text, (path, option.opts[0])
        if isinstance(command, click.Group):
            for name, member in command.commands.items():
                check(member, f"{path} {name}")

    for name, command in meshctl.commands.items():
        check(command, f"meshctl {name}")


def test_the_sources_of_the_reference_name_what_there_is() -> None:
    """Needs no MkDocs: a public name that was added is missed at once."""
    text = "".join(path.read_text(encoding="utf-8") for path in REFERENCE.glob("*.md"))
    named = set(re.findall(r"^::: ([\w.]+)$", text, flags=re.MULTILINE))
    wanted = {f"mesh.{name}" for name in mesh.__all__ if name != "__version__"}
    assert wanted - named == set()
    assert "`mesh.__version__`" in text


def test_a_docstring_becomes_markdown() -> None:
    pytest.importorskip("griffe", reason="it comes with mkdocstrings")
    spec = importlib.util.spec_from_file_location("docstrings", ROOT / "docs/site/docstrings.py")
    assert spec is not None
    assert spec.loader is not None
    docstrings: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(docstrings)
    text = (
        "A node::\n\n    go()\n\n"
        "``name``  its name,\n          short\n``longer`` 1\n\n"
        "See ``docs/a.md``."
    )
    assert docstrings.as_markdown(text) == (
        "A node:\n\n```python\ngo()\n```\n\n\n- `name`: its name,\n    short\n- `longer`: 1\n\n"
        "See [a](../a.md)."
    )
