"""A run is decided by its seed, so that a failure can be repeated."""

from __future__ import annotations

from tests.sim import Simulation


def eventful_run(seed: int) -> tuple[str, list[str]]:
    """The trace of all arrivals, and the events of all nodes, of a run with some of everything."""
    sim = Simulation(seed)
    nodes = sim.meshed(6)
    for node in nodes:
        node.hear("n.*")
        node.serve("echo", lambda x: x, service="echo")
    for i in range(30):
        for node in nodes:
            node.publish(f"n.{i}", i)
            node.call("echo.echo", i, retry=True)
        sim.run(sim.random.random() * 0.05)
    sim.kill(nodes[0])
    sim.partition(nodes[1:3], nodes[3:])
    sim.run(9)
    sim.heal()
    sim.run(5)
    story = [f"{at!r} {event}" for node in nodes for at, event in zip(node.at, node.events)]  # noqa: B905
    return sim.network.trace, story


def test_the_same_seed_gives_the_same_run() -> None:
    assert eventful_run(5) == eventful_run(5)


def test_another_seed_gives_another_run() -> None:
    assert eventful_run(5)[0] != eventful_run(6)[0]
