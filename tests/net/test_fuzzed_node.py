"""A live node under mutated traffic at all its ports: its friend is served, and it stays small.

Long form: ``-m slow`` here, or ``python -m tests.net.assault --inputs 100000``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

import mesh
from tests.net.assault import Assault
from tests.net.processes import NodeProcess

SHORT_INPUTS = 4_000
LONG_INPUTS = 100_000

Start = Callable[..., NodeProcess]
Make = Callable[..., mesh.Node]


@pytest.fixture
def assault(start_process: Start, make_node: Make, mesh_name: str) -> Iterator[Assault]:
    node = start_process("target", discovery=["exchange"], subscribe=("a.>",), member=("crew",))
    friend = make_node("friend", discovery=(), seeds=[node.address]).start()
    friend.wait_for("target")
    made = Assault(node, friend, mesh_name, seed=1)
    yield made
    made.close()


def check_after(assault: Assault, make_node: Make) -> None:
    """All kinds were sent, and who comes now gets in."""
    assert len(assault.sent) == 5, assault.sent
    newcomer = make_node("newcomer", discovery=(), seeds=[assault.node.address]).start()
    newcomer.wait_for("target", timeout=10.0)
    assert newcomer.service("target", timeout=2.0).echo(1) == 1
    kinds = {kind for _, kind, *_ in assault.node.ask("seen", peer=assault._friend.id)}
    assert "PeerFailed" not in kinds


def test_mutated_traffic_at_all_ports_harms_nobody(assault: Assault, make_node: Make) -> None:
    assault.run(SHORT_INPUTS)
    check_after(assault, make_node)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_much_mutated_traffic_at_all_ports_harms_nobody(
    assault: Assault, make_node: Make, measured: Callable[[str, float], None]
) -> None:
    began = time.monotonic()
    assault.run(LONG_INPUTS)
    measured("inputs/s", assault.total / (time.monotonic() - began))
    check_after(assault, make_node)
