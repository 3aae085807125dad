"""Shows findings: a line each, the gravest first, then how many there are."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence

import click

from mesh.cli.doctor.facts import Facts
from mesh.cli.doctor.findings import GRAVITIES, Finding
from mesh.cli.output import make_console, print_text
from mesh.cli.text import count_of, printable

__all__ = ["Progress", "as_document", "is_well", "print_findings", "summary"]

_STYLES = {"problem": "bold red", "warning": "yellow", "note": "cyan", "ok": "green"}
WIDEST = max(map(len, GRAVITIES))


def is_well(found: Sequence[Finding]) -> bool:
    """Whether there is no problem."""
    return all(finding.gravity != "problem" for finding in found)


def summary(facts: Facts, found: Sequence[Finding]) -> str:
    """ "2 problems, 1 warning", or that all is well."""
    counts = Counter(finding.gravity for finding in found)
    told = [count_of(counts[grave], grave) for grave in ("problem", "warning") if counts[grave]]
    about = f" with {facts.focus.text}" if facts.focus is not None else ""
    return ", ".join(told) + about if told else f"all is well{about}"


def print_findings(facts: Facts, found: Sequence[Finding]) -> None:
    """On a terminal in colours, and folded below its own text; else a finding stays one line."""
    if sys.stdout.isatty():
        _print_folded(facts, found)
        return
    for finding in found:
        print_text(printable(f"{finding.gravity:<{WIDEST}}  {finding.line}  ({finding.code})"))
    print_text(printable(summary(facts, found)))


def _print_folded(facts: Facts, found: Sequence[Finding]) -> None:
    from rich.table import Table
    from rich.text import Text

    console = make_console()
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(min_width=WIDEST)
    table.add_column(overflow="fold")
    for finding in found:
        style = _STYLES[finding.gravity]
        is_grave = finding.gravity in ("problem", "warning")
        line = Text(printable(finding.what), "bold" if is_grave else "")
        if finding.why:
            line.append(f": {printable(finding.why)}", "not bold")
        if finding.do:
            line.append(
                f" -> {printable(finding.do)}", "not bold green" if is_grave else "not bold"
            )
        line.append(f"  ({finding.code})", "not bold dim")
        table.add_row(Text(finding.gravity, style), line)
    console.print(table)
    style = _STYLES["ok" if is_well(found) else "problem"]
    console.print(Text(printable(summary(facts, found)), style))


def as_document(facts: Facts, found: Sequence[Finding]) -> dict[str, object]:
    """For programs. Codes and gravities never change meaning; texts may."""
    own = facts.own
    return {
        "ok": is_well(found),
        "mesh": own.mesh,
        "focus": facts.focus.text if facts.focus is not None else None,
        "self": {
            "id": own.id or None,
            "addresses": list(own.addresses),
            "protocol": own.protocol,
            "fingerprint": own.fingerprint or None,
        },
        "findings": [
            {
                "code": finding.code,
                "gravity": finding.gravity,
                "what": finding.what,
                "why": finding.why or None,
                "do": finding.do or None,
                "nodes": list(finding.nodes),
                "addresses": list(finding.addresses),
            }
            for finding in found
        ],
    }


class Progress:
    """One line on stderr that says what is under way; nothing where that is no terminal."""

    def __init__(self) -> None:
        self._is_shown = sys.stderr.isatty()

    def tell(self, what: str) -> None:
        """In the place of what was said before."""
        if self._is_shown:
            click.echo(f"\r\x1b[K{what} ...", err=True, nl=False)

    def end(self) -> None:
        """Wipe it out."""
        if self._is_shown:
            click.echo("\r\x1b[K", err=True, nl=False)
