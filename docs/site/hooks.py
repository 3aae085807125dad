"""What the site has beyond ``docs/*.md``: pages from elsewhere in the repository, and their links.

The sources stay plain Markdown that a code host shows as well, so their links are those of the
repository. A link that leaves ``docs/`` leads, on the site, to the page that is made of its target;
where there is none (a test, say) its text stays and the link goes. What is not there at all is left
to MkDocs, which then fails.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from command_page import command_page
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[2]

FROM_ELSEWHERE = {
    "README.md": "tour.md",
    "CHANGELOG.md": "changelog.md",
    "demos/README.md": "demos.md",
    "benchmarks/README.md": "benchmarks/measuring.md",
    "benchmarks/RESULTS.md": "benchmarks/results.md",
    "benchmarks/results.svg": "benchmarks/results.svg",
    "benchmarks/growth.svg": "benchmarks/growth.svg",
}
"""Path in the repository -> path on the site, for what is not in ``docs/``."""

_SOURCES = {target: source for source, target in FROM_ELSEWHERE.items()}
_LINK = re.compile(r"(!?)\[((?:[^\[\]`]|`[^`]*`)*)\]\(([^)\s#:]+)(#[^)\s]*)?\)")
_CODE_OR_HEX = re.compile(r"(`[^`]*`)|\[([0-9a-f]*)\](?![(\[])")
_FENCE = re.compile(r"(^ *```.*?^ *```$)", re.MULTILINE | re.DOTALL)


def on_files(files: Files, config: Any) -> Files:
    """Add the pages and pictures from elsewhere, and the one on commands, which is made here."""
    for source, target in FROM_ELSEWHERE.items():
        files.append(File.generated(config, target, abs_src_path=str(ROOT / source)))
    files.append(File.generated(config, "reference/cli.md", content=command_page()))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """The page with links that hold on the site."""
    here = page.file.src_uri
    # Code is no text: a link in it is none.
    parts = _FENCE.split(markdown)
    return "".join(part if n % 2 else _linked(part, here) for n, part in enumerate(parts))


def _linked(text: str, here: str) -> str:
    text = _LINK.sub(lambda link: _resolved(link, here), text)
    # The hex of a test vector in brackets would be the name of a link that is defined elsewhere.
    return _CODE_OR_HEX.sub(lambda found: found[1] or rf"\[{found[2]}\]", text)


def _resolved(link: re.Match[str], here: str) -> str:
    image, text, target, anchor = link.groups()
    source = _SOURCES.get(here, f"docs/{here}")
    wanted = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
    if wanted in FROM_ELSEWHERE:
        on_site = FROM_ELSEWHERE[wanted]
    elif wanted.startswith("docs/"):
        on_site = wanted.removeprefix("docs/")
    elif (ROOT / wanted).exists():
        return text
    else:
        return link[0]
    relative = posixpath.relpath(on_site, posixpath.dirname(here) or ".")
    return f"{image}[{text}]({relative}{anchor or ''})"
