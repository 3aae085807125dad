"""Any faults in any order; once they are over, everything is as it should be.

Whatever happened: messages of one sender never come twice or out of order. And when all paths are
back and all processes run: the survivors soon agree on who is there, nobody else is listed, every
subscription is confirmed, and then nothing is lost and nothing happens any more.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable
from random import Random

import pytest

from patterns.messages import Message
from tests.sim import SimNode, Simulation
from tests.sim.simulation import all_know_all

DISCOVERY_EVERY = 5.0
"""Seconds between hints of everybody at everybody, as multicast gives them."""

AGREE_WITHIN = 30.0
ENDED_WITHIN = 8.0

FOUND = (1029, 1168, 2050, 2220, 2335)
"""Seeds that once broke a law."""


class Chaos:
    """One run; its seed decides the nodes, the network and the faults."""

    def __init__(self, seed: int) -> None:
        self.random = random = Random(seed)
        self.sim = Simulation(
            seed,
            latency=random.choice([0.0003, 0.002, 0.02, 0.1]),
            jitter=random.choice([0.2, 2.0, 5.0]),
        )
        self.nodes: list[SimNode] = []
        self.alive: dict[SimNode, None] = {}
        self.stopped: dict[SimNode, str] = {}
        self.heard: dict[SimNode, list[Message]] = {}
        self.sent: Counter[SimNode] = Counter()
        for index in range(random.randrange(2, 6)):
            aliases = [f"172.16.0.{index}"] if random.random() < 0.4 else []
            self.start(f"n{index}", None, aliases)
            self.sim.run(random.random() * 0.1)
        self.discover()

    @property
    def live(self) -> list[SimNode]:
        return list(self.alive)

    @property
    def running(self) -> list[SimNode]:
        return [node for node in self.alive if node not in self.stopped]

    def start(self, name: str, host: str | None, aliases: list[str]) -> None:
        node = self.sim.node(name, host=host, aliases=aliases, open=False)
        others = self.live
        self.nodes.append(node)
        self.alive[node] = None
        self.heard[node] = node.hear("n", echo=False)
        if not others:
            node.open()
            return
        seed = self.random.choice(others)
        node.open([seed.address, *(f"{alias}:7000" for alias in seed.aliases)])
        if self.random.random() < 0.5:
            node.engine.hint(seed.config.id, [seed.address])

    def discover(self) -> None:
        for node in self.running:
            for other in self.live:
                node.engine.hint(other.config.id, [other.address])
        self.sim.clock.call_later(DISCOVERY_EVERY, self.discover)

    def publish(self, node: SimNode) -> int:
        self.sent[node] += 1
        return node.publish("n", self.sent[node])

    def publish_some(self) -> None:
        for node in self.running:
            for _ in range(self.random.randrange(20)):
                self.publish(node)
                if self.random.random() < 0.3:
                    self.sim.run(self.random.random() * 0.003)

    # Faults.

    def befall(self) -> None:
        one, other = self.random.choice(self.live), self.random.choice(self.live)
        faults: list[Callable[[SimNode, SimNode], None]]
        faults = [self.kill, self.stop, self.stop, self.split, self.mend, self.break_link]
        faults += [self.break_link, self.restart, self.resubscribe, self.go_on]
        self.random.choice(faults)(one, other)

    def kill(self, node: SimNode, _: SimNode) -> None:
        if len(self.alive) > 2:
            self.sim.kill(node)
            del self.alive[node]
            self.stopped.pop(node, None)

    def stop(self, node: SimNode, _: SimNode) -> None:
        if node not in self.stopped:
            self.stopped[node] = self.random.choice(["freeze", "block"])
            getattr(self.sim, self.stopped[node])(node)

    def go_on(self, *_: SimNode) -> None:
        for node, how in self.stopped.items():
            getattr(self.sim, {"freeze": "thaw", "block": "unblock"}[how])(node)
        self.stopped.clear()

    def split(self, *_: SimNode) -> None:
        nodes = self.live
        self.random.shuffle(nodes)
        count = self.random.randrange(len(nodes))
        self.sim.partition(nodes[:count], nodes[count:])

    def mend(self, *_: SimNode) -> None:
        self.sim.heal()

    def break_link(self, one: SimNode, other: SimNode) -> None:
        with contextlib.suppress(LookupError):  # nothing there to break
            self.random.choice([self.sim.cut, self.sim.replace])(one, other)

    def restart(self, *_: SimNode) -> None:
        hosts = {node.host for node in self.alive}
        dead = [node for node in self.nodes if node.host not in hosts]
        if dead:
            node = self.random.choice(dead)
            self.start(node.name, node.host, [])

    def resubscribe(self, *_: SimNode) -> None:
        for node in self.running:
            subscription = node.subscribe("other")
            if self.random.random() < 0.5:
                node.engine.unsubscribe(subscription)

    # Laws.

    def run(self) -> None:
        for _ in range(self.random.randrange(3, 14)):
            self.befall()
            self.publish_some()
            self.sim.run(self.random.choice([0.0, 0.001, 0.01, 0.1, 1.0, 3.0, 6.0, 12.0]))
        self.mend()
        self.go_on()

    def check_views(self) -> None:
        live, sim = self.live, self.sim
        sim.until(lambda: all_know_all(live), AGREE_WITHIN)
        sim.run(ENDED_WITHIN)
        for node in live:
            assert node.peers() == {other.id: "alive" for other in live if other is not node}
        confirmations = [node.confirm() for node in live]
        sim.run(2.0)
        assert [waiter.result() for waiter in confirmations] == [[] for _ in live]

    def check_calm(self) -> None:
        live, sim = self.live, self.sim
        events = {node: len(node.events) for node in live}
        before = {node: (len(self.heard[node]), self.sent[node]) for node in live}
        for _ in range(100):
            for node in live:
                assert self.publish(node) == len(live) - 1
            sim.run(0.1)
        sim.run(2.0)
        for node in live:
            assert node.events[events[node] :] == []
            news = self.heard[node][before[node][0] :]
            for sender in live:
                if sender is not node:
                    numbers = [m.data for m in news if m.sender.id == sender.id]
                    assert numbers == list(range(before[sender][1] + 1, self.sent[sender] + 1))

    def check_order(self) -> None:
        for messages in self.heard.values():
            for sender in self.nodes:
                numbers = [m.data for m in messages if m.sender.id == sender.id]
                assert numbers == sorted(set(numbers))


def check(seed: int) -> None:
    chaos = Chaos(seed)
    chaos.run()
    chaos.check_views()
    chaos.check_calm()
    chaos.check_order()


@pytest.mark.parametrize("seed", [*range(60), *FOUND])
def test_when_the_faults_are_over_all_is_well_and_nothing_came_twice(seed: int) -> None:
    check(seed)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("first", range(1000, 11_000, 500))
def test_many_more_seeds(first: int) -> None:
    for seed in range(first, first + 500):
        try:
            check(seed)
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}") from error
