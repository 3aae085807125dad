"""Fixtures: a lab of hosts, and nodes on them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.multihost.lab import Lab, reason_against
from tests.multihost.nodes import Nodes

_reason: list[str | None] = []


@pytest.fixture
def lab() -> Iterator[Lab]:
    """Hosts on one network, made as the test asks for them."""
    if not _reason:
        _reason.append(reason_against())
    if _reason[0] is not None:
        pytest.skip(_reason[0])
    with Lab() as made:
        yield made


@pytest.fixture
def nodes(lab: Lab) -> Iterator[Nodes]:
    """Nodes on the hosts of the lab; a process that shows signs of a crash fails the test."""
    made = Nodes()
    try:
        yield made
        for process in made.all:
            process.check()
    finally:
        made.end()
