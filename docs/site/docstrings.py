"""Docstrings as Markdown: the code's are plain text with a few habits, which are told here.

- ``word``, two blanks or more, and a text, line by line, is a list.
- A line that ends with two colons and an indented block is a program.
- ``docs/calls.md`` is a page of the site. All docstrings are shown one folder below its top.
"""

from __future__ import annotations

import re
import textwrap
from typing import Any

import griffe

_ITEM = re.compile(r"``([^`]+)``\s{2,}(.*)")
_ITEM_AFTER_OTHERS = re.compile(r"``([^`]+)`` (.*)")
_PAGE = re.compile(r"``docs/(\w+)\.md``")
_BLOCK = re.compile(r"::\n\n((?: {4}.*\n|\n)+)")


class Docstrings(griffe.Extension):
    """Rewrites each docstring when it has been read."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = as_markdown(obj.docstring.value)


def as_markdown(text: str) -> str:
    """A docstring of the project, in Markdown."""
    text = _BLOCK.sub(_fenced, text + "\n").strip()
    lines: list[str] = []
    is_list = False
    for line in text.splitlines():
        item = _ITEM.match(line) or (is_list and _ITEM_AFTER_OTHERS.match(line))
        if item:
            if not is_list:
                lines.append("")
            is_list = True
            lines.append(f"- `{item[1]}`: {item[2]}")
        elif is_list and line.startswith("  "):
            lines.append(f"    {line.strip()}")
        else:
            if is_list and line.strip():
                lines.append("")
            is_list = False
            lines.append(line)
    return _PAGE.sub(r"[\1](../\1.md)", "\n".join(lines))


def _fenced(block: re.Match[str]) -> str:
    return f":\n\n```python\n{textwrap.dedent(block[1]).strip()}\n```\n\n"
