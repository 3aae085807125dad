"""``node.discovery()``: each source's state, and what became of what it has found."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import mesh
from discovery import Announcement, Candidate, SourceState
from tests.net.processes import until

Make = Callable[..., mesh.Node]


def outcome(node: mesh.Node, source: str, address: str) -> str:
    found = node.discovery()[source].found
    return next((one.outcome for one in found if address in one.addresses), "")


def cause(node: mesh.Node, source: str, address: str) -> str:
    found = node.discovery()[source].found
    return next((one.cause for one in found if address in one.addresses), "")


def test_what_is_linked_of_another_mesh_or_silent_is_told(make_node: Make, tmp_path: Path) -> None:
    other = make_node("other", discovery=()).start()
    stranger = make_node("stranger", mesh="another", discovery=()).start()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        nobody = f"127.0.0.1:{silent.getsockname()[1]}"
        seeds = tmp_path / "seeds"
        seeds.write_text(f"{nobody}\n")
        node = make_node(
            "node",
            discovery=(),
            seeds=(other.me.address, stranger.me.address, f"file:{seeds}"),
        ).start()
        until(lambda: outcome(node, "seeds", other.me.address) == f"alive: {other.me}", 20.0)
        refused = f"refused: this is mesh 'another', not '{node.mesh}'"
        until(lambda: outcome(node, "seeds", stranger.me.address) == refused, 20.0)
        until(lambda: "no answer" in outcome(node, f"file:{seeds}", nobody), 20.0)
        assert cause(node, "seeds", other.me.address) == "alive"
        assert cause(node, "seeds", stranger.me.address) == "refused-mesh"
        assert cause(node, f"file:{seeds}", nobody) in ("dialled", "unanswered", "silent")
    assert {name: r.status for name, r in node.discovery().items()} == {
        "seeds": "working",
        f"file:{seeds}": "working",
    }


def test_what_is_heard_of_another_mesh_is_not_dialled_and_says_so(make_node: Make) -> None:
    node = make_node("node").start()
    stranger = make_node("stranger", mesh="another").start()
    until(lambda: outcome(node, "local", stranger.me.address) == "of another mesh", 20.0)
    assert cause(node, "local", stranger.me.address) == "other-mesh"


def test_a_failing_source_says_why_and_the_others_work(make_node: Make, tmp_path: Path) -> None:
    missing = f"file:{tmp_path / 'none'}"
    reports = make_node("node", seeds=(missing,)).start().discovery()
    assert reports[missing].status == "failing"
    assert "No such file" in reports[missing].reason
    assert reports["local"].status == "working"


class Registry:
    """A source of one's own: a list that all nodes of this process share."""

    name = "registry"
    entries: list[Announcement]

    def __init__(self, entries: list[Announcement]) -> None:
        self.entries = entries
        self.state = SourceState("idle")

    async def start(self, announcement: Announcement, found: Callable[[Candidate], None]) -> None:
        self.state = SourceState("working")
        for entry in self.entries:
            found(entry.candidate(self.name))
        self.entries.append(announcement)

    def update(self, announcement: Announcement) -> None:
        self.entries.append(announcement)

    async def close(self) -> None:
        self.state = SourceState("closed")


def test_nodes_find_each_other_by_a_source_of_ones_own(make_node: Make) -> None:
    entries: list[Announcement] = []
    one = make_node("one", discovery=(Registry(entries),)).start()
    two = make_node("two", discovery=(Registry(entries),)).start()
    assert two.wait_for("one", timeout=20.0)[0].id == one.id


@pytest.mark.parametrize("source", [object(), Registry, 7, "bonjour"])
def test_what_is_no_source_is_refused(source: Any) -> None:
    with pytest.raises(mesh.ConfigError, match="discovery"):
        mesh.Node("node", discovery=(source,))


def test_two_sources_of_one_name_are_refused(make_node: Make) -> None:
    node = make_node("node", discovery=(Registry([]), Registry([])))
    with pytest.raises(mesh.ConfigError, match="same name"):
        node.start()


@pytest.mark.parametrize(
    "seeds", [("file:",), ("_mesh._tcp",), ("calc",), ("10.0.0.1",), ("_mesh._tcp.a b",)]
)
def test_seeds_that_make_no_sense_are_refused(seeds: tuple[str, ...]) -> None:
    with pytest.raises(mesh.ConfigError, match="seed"):
        mesh.Node("node", seeds=seeds)


def test_interfaces_come_from_the_argument_else_from_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(mesh.ConfigError, match=r"10\.0\.0\.0/99"):
        mesh.Node("node", interfaces=("10.0.0.0/99",))
    monkeypatch.setenv("MESH_INTERFACES", "10.0.0.0/99, eth0")
    with pytest.raises(mesh.ConfigError, match=r"10\.0\.0\.0/99"):
        mesh.Node("node")
    mesh.Node("node", interfaces=("eth0",))


def test_discovery_is_a_picture_then_changes(make_node: Make) -> None:
    from discovery import Discovery, Local

    node = make_node("node").start()

    async def main() -> list[tuple[str | None, bool]]:
        me = Announcement("0" * 32, "anything", 1, ("127.0.0.1",), 1)
        finder = Discovery([Local()])
        await finder.start(me)
        seen = []
        async for candidate in finder.watch():
            if candidate.id == node.id:
                seen.append((candidate.id, candidate.is_gone))
                break
        again = [c async for c in _first(finder.watch(), 1)]
        assert node.id in [c.id for c in finder.states()["local"].candidates]
        assert again
        await finder.close()
        assert {c.source async for c in finder.watch()} == {"local"}, "it ends"
        return seen

    assert asyncio.run(main()) == [(node.id, False)]


async def _first(watch: Any, count: int) -> Any:
    async for candidate in watch:
        yield candidate
        count -= 1
        if not count:
            watch.close()
            return
