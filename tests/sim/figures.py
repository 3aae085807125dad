"""Figures that only a simulation can give: ``python -m tests.sim.figures crowd|doubt``.

``crowd N ...``: N nodes that all know one seed: how long until all know all, and what each sends
meanwhile, and at rest. ``doubt``: how soon a death is noticed, and how often a peer that lives is
failed, for several floors of suspicion and faults that pass by themselves.
"""

from __future__ import annotations

import gc
import logging
import sys
import time
from collections.abc import Callable
from random import Random
from unittest.mock import patch

import mesh.engine.liveness as liveness
from mesh.engine import events as e
from tests.sim import SimNode, Simulation
from tests.sim.simulation import all_know_all

__all__ = ["Crowd", "crowd"]

SETTLE = 10.0
"""Seconds from when all know all until they are at rest."""

IDLE = 10.0
"""Seconds at rest that are measured."""


class Crowd:
    """What it took: seconds, and messages and bytes that each node sent in one."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.seconds = 0.0
        self.joining = (0.0, 0.0)
        self.idle = (0.0, 0.0)


def crowd(count: int, within: float = 60.0) -> Crowd:
    """``count`` nodes that start within a second, with the first as seed."""
    # Of a thousand nodes there are a hundred million objects, of which hardly any is garbage.
    gc.disable()
    try:
        return _crowd(count, within)
    finally:
        gc.enable()


def _crowd(count: int, within: float) -> Crowd:
    sim, made = Simulation(1), Crowd(count)
    nodes = [sim.node("n0")]
    for index in range(1, count):
        node = sim.node(f"n{index}", open=False)
        sim.clock.call_later(index / count, lambda node=node: node.open([nodes[0].address]))
        nodes.append(node)

    def knows_all() -> bool:
        return all(len(node.engine._core.membership.peers()) == count - 1 for node in nodes)

    while not knows_all():
        sim.run(0.1)
        if sim.now > within:
            raise AssertionError(f"{count} nodes do not know each other in {within} s")
    made.seconds = sim.now
    made.joining = per_node(sim, count, 0, 0, sim.now)
    sim.run(SETTLE)
    items, size = sim.network.items, sim.network.bytes
    sim.run(IDLE)
    made.idle = per_node(sim, count, items, size, IDLE)
    return made


def per_node(
    sim: Simulation, count: int, items: int, size: int, seconds: float
) -> tuple[float, float]:
    network = sim.network
    scale = count * seconds
    return (network.items - items) / scale, (network.bytes - size) / scale


# Doubt.


def stall(sim: Simulation, nodes: list[SimNode], seconds: float) -> None:
    """One is frozen for a while: a machine that swaps, a lid for a moment."""
    sim.freeze(nodes[0])
    sim.clock.call_later(seconds, lambda: sim.thaw(nodes[0]))


def cut_one_way(sim: Simulation, nodes: list[SimNode], seconds: float) -> None:
    """What one sends to another does not arrive; all other paths are good."""
    sim.block_path(nodes[0], nodes[1])
    sim.clock.call_later(seconds, sim.heal)


def lossy(sim: Simulation, nodes: list[SimNode], seconds: float) -> None:
    """A bad radio: the path between two comes and goes, and each loss takes a connection."""
    random = Random(sim.random.random())

    def again() -> None:
        if sim.now > 10.0 + seconds:
            sim.heal()
            return
        if random.random() < 0.5:
            sim.partition(nodes[:1], nodes[1:2])
        else:
            sim.heal()
        sim.clock.call_later(random.random() * 1.5, again)

    again()


FAULTS: dict[str, Callable[[Simulation, list[SimNode], float], None]] = {
    "frozen": stall,
    "cut one way": cut_one_way,
    "comes and goes": lossy,
}


def doubt(fault: str, seconds: float, floor: float, seed: int) -> tuple[int, int, int]:
    """Pairs that the fault met, those of which one was failed, and those that others, not met by
    it, still saw alive then: what asking them could have saved."""
    with patch.object(liveness, "SUSPICION", floor):
        sim = Simulation(seed)
        nodes = sim.meshed(5)
        sim.run(10.0 - sim.now)
        FAULTS[fault](sim, nodes, seconds)
        sim.run(seconds + 10.0)
    met = [(a, b) for a in nodes for b in nodes if a is not b and nodes[0] in (a, b)]
    if fault != "frozen":
        met = [(a, b) for a, b in met if {a, b} == set(nodes[:2])]
    failed = saved = 0
    for a, b in met:
        if a.saw(e.PeerFailed, b):
            failed += 1
            at = a.time_of(e.PeerFailed, b)
            saved += any(
                c.peers().get(b.id) == "alive" and not c.saw(e.PeerSuspected, b)
                for c in nodes
                if c not in (a, b) and at
            )
    if not all_know_all(nodes):
        raise AssertionError(f"{fault}: they have not found each other again")
    return len(met), failed, saved


def detection(floor: float, how: str) -> float:
    """Seconds until all others have failed a node that is gone."""
    with patch.object(liveness, "SUSPICION", floor):
        sim = Simulation(1)
        nodes = sim.meshed(5)
        sim.run(10.0 - sim.now)
        (sim.kill if how == "killed" else sim.freeze)(nodes[0])
        return sim.until(lambda: all(n.saw(e.PeerFailed, nodes[0]) for n in nodes[1:]), 60.0)


def tell_doubt() -> None:
    print("floor   killed   frozen   false deaths by a fault that passes")
    for floor in (2.0, 4.0, 6.0, 8.0):
        texts = []
        for fault in FAULTS:
            for seconds in (3.0, 5.0, 8.0):
                results = [doubt(fault, seconds, floor, seed) for seed in range(6)]
                met, failed, saved = (sum(column) for column in zip(*results, strict=True))
                texts.append(f"{fault} {seconds:g} s: {failed}/{met} ({saved})")
        found = f"{detection(floor, 'killed'):6.2f} s {detection(floor, 'frozen'):6.2f} s"
        print(f"{floor:3g} s {found}   " + ", ".join(texts), flush=True)


def tell_crowd(counts: list[int]) -> None:
    print("nodes  joined in  joining: messages, bytes  idle: messages, bytes (a node, a second)")
    for count in counts:
        began = time.process_time()
        made = crowd(count)
        took = time.process_time() - began
        print(
            f"{count:5d} {made.seconds:7.1f} s {made.joining[0]:12.1f} {made.joining[1]:9.0f}"
            f" {made.idle[0]:12.2f} {made.idle[1]:9.1f}   ({took:.0f} s of CPU)",
            flush=True,
        )


def main() -> None:
    logging.disable(logging.CRITICAL)
    if sys.argv[1:2] == ["doubt"]:
        tell_doubt()
    elif sys.argv[1:2] == ["crowd"]:
        tell_crowd([int(text) for text in sys.argv[2:]] or [10, 100])
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()
