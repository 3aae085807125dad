"""From facts to findings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from mesh.cli.doctor.facts import Facts
from mesh.cli.doctor.findings import Finding, graver_first
from mesh.cli.doctor.on_focus import narrowed, on_focus
from mesh.cli.doctor.on_machine import on_machine
from mesh.cli.doctor.on_members import on_members
from mesh.cli.doctor.on_strangers import on_strangers

__all__ = ["diagnose"]

MOST_OF_A_CODE = 8
"""Findings of one code that are told one by one."""


def diagnose(facts: Facts) -> Sequence[Finding]:
    """All that can be said, the gravest first."""
    found = [*on_focus(facts), *on_strangers(facts), *on_machine(facts), *on_members(facts)]
    found += [Finding("unchecked", "note", f"not looked at: {what}") for what in facts.unchecked]
    return _bounded(graver_first(narrowed(facts, found)))


def _bounded(found: Sequence[Finding]) -> list[Finding]:
    """Of each code the first, and one for all the others: a cut cable makes hundreds."""
    by_code: dict[str, list[Finding]] = {}
    for finding in found:
        by_code.setdefault(finding.code, []).append(finding)
    shown: list[Finding] = []
    told: Counter[str] = Counter()
    for finding in found:
        same, number = by_code[finding.code], told[finding.code]
        told[finding.code] += 1
        if number < MOST_OF_A_CODE or len(same) <= MOST_OF_A_CODE + 1:
            shown.append(finding)
        elif number == MOST_OF_A_CODE:
            shown.append(_rest(same[number:]))
    return shown


def _rest(left: Sequence[Finding]) -> Finding:
    nodes = dict.fromkeys(id for finding in left for id in finding.nodes)
    addresses = dict.fromkeys(address for finding in left for address in finding.addresses)
    return Finding(
        left[0].code,
        left[0].gravity,
        f"{len(left)} more like that",
        do="--json has the nodes and addresses of all",
        nodes=tuple(nodes),
        addresses=tuple(addresses),
    )
