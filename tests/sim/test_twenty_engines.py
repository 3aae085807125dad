"""The whole of it at once, on virtual time."""

from __future__ import annotations

from mesh.engine import events as e
from patterns.errors import PeerLost
from tests.sim import Simulation
from tests.sim.runner import sleep
from tests.sim.simulation import all_know_all


def test_twenty_engines_join_publish_call_and_survive_a_death_and_a_partition() -> None:
    sim = Simulation(seed=20)
    nodes = sim.meshed(20, within=3)
    heard = [node.hear("news.*") for node in nodes]
    confirmations = [node.confirm() for node in nodes]
    assert [sim.outcome(waiter) for waiter in confirmations] == [[]] * 20

    for node in nodes:
        assert node.publish(f"news.{node.name}", node.name) == 20
    sim.run(0.1)
    for messages in heard:
        assert sorted(m.data for m in messages) == sorted(node.name for node in nodes)

    async def slow(x: int) -> int:
        await sleep(1.0)
        return x

    for node in nodes[:3]:
        node.serve("double", lambda x: 2 * x, service="calc")
        node.serve("slow", slow, service="calc")
    sim.run(0.1)
    answers = [node.call("calc.double", i) for i, node in enumerate(nodes)]
    assert [sim.outcome(a) for a in answers] == [2 * i for i in range(20)]

    victim, caller = nodes[0], nodes[10]
    in_flight = caller.call("calc.slow", 7, peer=victim)
    retried = [caller.call("calc.slow", i, retry=True) for i in range(12)]
    sim.run(0.01)
    killed_at = sim.now
    sim.kill(victim)
    alive = nodes[1:]
    sim.until(lambda: all(node.saw(e.PeerFailed, victim) for node in alive), 1.0)
    assert isinstance(in_flight.error, PeerLost)
    assert in_flight.at is not None
    assert in_flight.at - killed_at < 0.2
    assert [sim.outcome(waiter) for waiter in retried] == list(range(12))

    left, right = alive[:9], alive[9:]
    sim.partition(left, right)
    sim.until(lambda: all(n.saw(e.PeerFailed, o) for n in left for o in right), 8.0)
    sim.until(lambda: all(n.saw(e.PeerFailed, o) for n in right for o in left), 1.0)
    assert all_know_all(left)
    assert all_know_all(right)
    assert left[0].publish("news.left") == 9
    sim.heal()
    sim.until(lambda: all_know_all(alive), 10.0)
    for messages in heard:
        messages.clear()
    assert alive[0].publish("news.healed", 1) == 19
    sim.run(0.1)
    assert [[m.data for m in messages] for messages in heard[1:]] == [[1]] * 19
