"""From facts to findings."""

from __future__ import annotations

from collections.abc import Sequence

from mesh.cli.doctor.facts import Facts
from mesh.cli.doctor.findings import Finding, graver_first
from mesh.cli.doctor.on_focus import narrowed, on_focus
from mesh.cli.doctor.on_machine import on_machine
from mesh.cli.doctor.on_members import on_members
from mesh.cli.doctor.on_strangers import on_strangers

__all__ = ["diagnose"]


def diagnose(facts: Facts) -> Sequence[Finding]:
    """All that can be said, the gravest first."""
    found = [*on_focus(facts), *on_strangers(facts), *on_machine(facts), *on_members(facts)]
    found += [Finding("unchecked", "note", f"not looked at: {what}") for what in facts.unchecked]
    return graver_first(narrowed(facts, found))
