"""What a key costs when two nodes meet, and at the door: ``python -m benchmarks.security``.

Two nodes in this process, on loopback. How fast encrypted messages go is in ``python -m benchmarks
--peers mesh mesh-key``.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import mesh
from mesh.security import Credentials, MeshKey, NodeKey
from mesh.security.authority import Authority
from mesh.security.curve import bind_id
from mesh.security.identity_file import IdentityFile
from mesh.security.knocking import new_token
from mesh.security.policy import Policy
from mesh.security.rules import Rule

ROUNDS = 15
KNOCKS = 500
MESSAGES = 100_000


async def meet(first: dict[str, Any], second: dict[str, Any]) -> float:
    """ms from the second node's start until each has the other as a peer, keys made before."""
    given: dict[str, Any] = {"host": "127.0.0.1", "discovery": ()}
    async with (
        mesh.AsyncNode("one", **given, **first) as one,
        mesh.AsyncNode("two", **given, **second, seeds=[one.me.address]) as two,
    ):
        began = time.perf_counter()
        await two.wait_for("one")
        await one.wait_for("two")
        return (time.perf_counter() - began) * 1000


def met(first: dict[str, Any], second: dict[str, Any]) -> float:
    return median(asyncio.run(meet(first, second)) for _ in range(ROUNDS))


def per_call(act: Callable[[], object]) -> float:
    """µs."""
    took = []
    for _ in range(KNOCKS):
        began = time.perf_counter_ns()
        act()
        took.append((time.perf_counter_ns() - began) / 1000)
    return median(took)


def door_costs(credentials: Callable[[], Credentials]) -> tuple[float, float]:
    """µs of CPU to answer a knock, and to refuse one with another key."""
    host, guest = credentials(), credentials()
    key = MeshKey(mesh.generate_key(), "mesh")
    stranger = Credentials(guest.id, "mesh", [key], guest.node)
    question = guest.question(guest.key, new_token())
    wrong = stranger.question(key, new_token())
    return per_call(lambda: host.answer(question)), per_call(lambda: host.answer(wrong))


async def throughput(settings: dict[str, Any], other: dict[str, Any]) -> float:
    """Messages a second from one node to another in one loop."""
    given: dict[str, Any] = {"host": "127.0.0.1", "discovery": ()}
    async with mesh.AsyncNode("one", **given, **settings) as one:
        got = 0
        done = asyncio.get_running_loop().create_future()

        def count(message: mesh.Message) -> None:
            nonlocal got
            got += 1
            if got == MESSAGES:
                done.set_result(None)

        two = mesh.AsyncNode("two", **given, **other, seeds=[one.me.address])
        two.subscriber("flow.>")(count)
        async with two:
            await one.wait_for("two")
            began = time.perf_counter()
            for number in range(MESSAGES):
                one.publish("flow.next", b"x" * 64)
                if number % 500 == 0:
                    await one.flush()
            await done
            return MESSAGES / (time.perf_counter() - began)


def identities(folder: Path) -> tuple[Callable[[], Credentials], list[dict[str, Any]]]:
    authority = Authority.create(folder / "ca", "mesh")

    def issued(name: str) -> IdentityFile:
        node = NodeKey.generate()
        return IdentityFile(
            mesh="mesh",
            key=authority.key,
            node_secret=node.secret,
            certificate=authority.issue(name, node.public),
            authority=authority.public,
        )

    mesh_key = MeshKey(authority.key, "mesh")

    def credentials() -> Credentials:
        file = issued("node")
        node = NodeKey(file.node_secret)
        return Credentials(
            bind_id(node.public),
            "mesh",
            [mesh_key],
            node,
            authority=file.authority,
            certificate=file.certificate,
        )

    return credentials, [{"identity": issued(name)} for name in ("one", "two")]


def plain_credentials() -> Callable[[], Credentials]:
    key = MeshKey(mesh.generate_key(), "mesh")

    def credentials() -> Credentials:
        node = NodeKey.generate()
        return Credentials(bind_id(node.public), "mesh", [key], node)

    return credentials


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        certified, files = identities(Path(folder))
        key = {"key": mesh.generate_key()}
        print(f"two nodes meet, ms: no key            {met({}, {}):8.1f}")
        print(f"                    a key             {met(key, key):8.1f}")
        print(f"                    identities        {met(*files):8.1f}")
        for name, made in (("a key", plain_credentials()), ("identities", certified)):
            answer, refuse = door_costs(made)
            print(
                f"at the door, µs: a knock answered {answer:8.0f}   refused {refuse:6.0f}   {name}"
            )
        policy = Policy(rules=[Rule("all", ["*"], allow={"publish": [">"], "subscribe": [">"]})])
        guarded = [file | {"policy": policy} for file in files]
        rates = {
            "no key": ({}, {}),
            "a key": (key, key),
            "identities": tuple(files),
            "a policy": tuple(guarded),
        }
        for name, pair in rates.items():
            best = median(asyncio.run(throughput(*pair)) for _ in range(5))
            print(f"both nodes in one loop, messages/s: {name:12} {best:10,.0f}")


if __name__ == "__main__":
    main()
