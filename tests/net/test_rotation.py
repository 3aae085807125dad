"""A mesh key that changes while the mesh runs: nothing is lost, and the old one is good no more."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path

import msgpack
import pytest
import zmq

import mesh
from mesh.cli.places import authority_folder
from mesh.key_keeping import KeyKeeper
from mesh.key_settings import KeySettings
from mesh.security import Credentials, MeshKey, NodeKey
from mesh.security.authority import Authority
from mesh.security.identity_file import IdentityFile
from mesh.transport.entrance import SPREAD_SECONDS, TICK
from tests.net.identities import Mint
from tests.net.inside import Inside, inside, without_multicast
from tests.net.processes import NodeProcess, until

__all__ = ["inside", "without_multicast"]

Start = Callable[..., NodeProcess]
Make = Callable[..., mesh.Node]

MESSAGES = 20_000


def key_file(folder: Path, name: str, *keys: str) -> Path:
    path = folder / f"{name}.key"
    path.touch(0o600)
    path.write_text("".join(f"{key}\n" for key in keys))
    return path


def begin(start: Start, path: Path, name: str, **settings: object) -> NodeProcess:
    return start(name, host="127.0.0.1", key_file=str(path), **settings)


def test_no_message_is_lost_and_no_link_is_cut_while_the_key_changes(
    start_process: Start, tmp_path: Path
) -> None:
    old = mesh.generate_key()
    files = [key_file(tmp_path, f"n{number}", old) for number in range(3)]
    nodes = [
        begin(start_process, file, f"n{i}", subscribe=("flow",)) for i, file in enumerate(files)
    ]
    first, second, third = nodes
    for one in nodes:
        for other in nodes:
            if one is not other:
                one.ask("wait_state", peer=other.id, states=["alive"])
    flowing = first.begin("publish_apart", subject="flow", count=MESSAGES)
    until(lambda: len(second.ask("numbers")) > 100)
    new = third.ask("rotate", grace=2)
    until(lambda: all(file.read_text().split()[0] == new for file in files), 10.0, "the new key")
    assert all(old in file.read_text() for file in files), "during the grace"
    assert flowing(60.0) == MESSAGES * len(nodes)  # its own subscription is one
    until(lambda: all(file.read_text() == f"{new}\n" for file in files), 30.0, "the grace's end")
    for one in (second, third):
        until(lambda one=one: len(one.ask("numbers")) == MESSAGES)
        assert one.ask("numbers") == list(range(MESSAGES))
    for one in nodes:
        for other in nodes:
            if one is not other:
                seen = {kind for _, kind, *_ in one.ask("seen", peer=other.id)}
                assert seen <= {"PeerJoined", "PeerUpdated"}


def test_who_comes_with_the_old_key_in_the_grace_is_told_the_new_one(
    start_process: Start, tmp_path: Path
) -> None:
    old = mesh.generate_key()
    here = key_file(tmp_path, "here", old)
    late = key_file(tmp_path, "late", old)
    node = begin(start_process, here, "here")
    new = node.ask("rotate", grace=600)
    newcomer = begin(start_process, late, "late", seeds=[node.address])
    newcomer.ask("wait_state", peer=node.id, states=["alive"])
    until(lambda: late.read_text().split()[0] == new)
    # And who has the new one alone meets both.
    fresh = begin(start_process, key_file(tmp_path, "fresh", new), "fresh", seeds=[node.address])
    for other in (node, newcomer):
        fresh.ask("wait_state", peer=other.id, states=["alive"])


def test_a_node_that_starts_within_the_grace_knows_when_it_ends(
    start_process: Start, tmp_path: Path
) -> None:
    old, new = mesh.generate_key(), mesh.generate_key()
    path = key_file(tmp_path, "node", new, f"#until {time.time() + 3:.0f}", old)
    node = begin(start_process, path, "node")
    stranger = begin(start_process, key_file(tmp_path, "old", old), "old", seeds=[node.address])
    stranger.ask("wait_state", peer=node.id, states=["alive"])
    node.ask("wait_state", peer=stranger.id, states=["failed"], within=30.0, timeout=25.0)
    until(lambda: path.read_text() == f"{new}\n")


def test_who_could_not_be_told_at_once_is_told_again(start_process: Start, tmp_path: Path) -> None:
    """Its Python was blocked for longer than anybody waits at its door."""
    old = mesh.generate_key()
    files = [key_file(tmp_path, name, old) for name in ("told", "busy")]
    told, busy = (begin(start_process, file, file.stem) for file in files)
    told.ask("wait_state", peer=busy.id, states=["alive"])
    blocked = busy.begin("block", seconds=SPREAD_SECONDS + 2)
    new = told.ask("rotate", grace=600)
    blocked(30.0)
    until(lambda: files[1].read_text().split()[0] == new, 3 * TICK + SPREAD_SECONDS)


def test_a_process_with_an_older_key_does_not_put_it_back(mint: Mint) -> None:
    """Two have one identity file; the other one has learnt of a new key already."""

    async def main() -> None:
        path = mint.identity("shared")
        file = IdentityFile.load(path)
        settings = KeySettings.make(None, None, None, path)
        node = NodeKey(settings.secret)
        keys = [MeshKey(file.key, file.mesh)]
        credentials = Credentials(
            settings.new_id(), file.mesh, keys, node, authority=file.authority
        )
        keeper = KeyKeeper(settings, credentials, lambda: None)
        new = mesh.generate_key()
        file.update(lambda now: now.with_key(new))
        mint.authority.issue("lost", bytes(32))
        credentials.revoke(mint.authority.revoke("lost"))
        await keeper.close()
        kept = IdentityFile.load(path)
        assert (kept.key, kept.revocations.version) == (new, 1)

    asyncio.run(main())


def test_a_node_that_got_its_key_as_text_says_that_it_cannot_keep_a_new_one(
    make_node: Make, caplog: pytest.LogCaptureFixture
) -> None:
    key = mesh.generate_key()
    node = make_node("text", key=key, host="127.0.0.1", discovery=()).start()
    credentials = node.aio.host.credentials
    assert credentials is not None
    order = credentials.order_rotation(mesh.generate_key(), 60)
    node._on_loop(lambda: credentials.rotate(order))
    until(lambda: "give it the new one before it is started again" in caplog.text)


def test_a_key_file_that_cannot_be_written_is_told_and_the_node_goes_on(
    make_node: Make, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    path = key_file(folder, "node", mesh.generate_key())
    node = make_node("node", key_file=path, host="127.0.0.1", discovery=()).start()
    path.unlink()
    folder.rmdir()
    credentials = node.aio.host.credentials
    assert credentials is not None
    order = credentials.order_rotation(mesh.generate_key(), 60)
    node._on_loop(lambda: credentials.rotate(order))
    until(lambda: "could not be kept" in caplog.text)
    assert credentials.key.text == order.key


def test_plain_clients_need_the_new_key_when_the_old_one_is_good_no_more(
    make_node: Make, tmp_path: Path
) -> None:
    old = mesh.generate_key()
    path = key_file(tmp_path, "gateway", old)
    gateway = make_node("gateway", key_file=path, host="127.0.0.1", discovery=(), plain=True)

    class Calc:
        def add(self, a: int, b: int) -> int:
            return a + b

    gateway.serve(Calc(), service="calc")
    gateway.start()
    before = gateway.plain
    assert asked(before.rpc, old, gateway.mesh) == 3
    credentials = gateway.aio.host.credentials
    assert credentials is not None
    order = credentials.order_rotation(mesh.generate_key(), 1)
    gateway._on_loop(lambda: credentials.rotate(order))
    assert asked(before.rpc, old, gateway.mesh) == 3, "during the grace"
    until(lambda: asked(before.rpc, order.key, gateway.mesh) == 3, 30.0, "the new key to be good")
    assert gateway.plain == before
    assert asked(before.rpc, old, gateway.mesh) is None


def asked(endpoint: str, key: str, name: str) -> int | None:
    """What a plain client with that key is told; None for nothing."""
    keys = mesh.curve_keys(key, name)
    with zmq.Context() as context, context.socket(zmq.REQ) as socket:
        socket.linger = 0
        socket.curve_serverkey = socket.curve_publickey = keys.public.encode()
        socket.curve_secretkey = keys.secret.encode()
        socket.connect(endpoint)
        socket.send_multipart([b"calc.add", msgpack.packb([[1, 2], {}])])
        if not socket.poll(1000):
            return None
        status, value = socket.recv_multipart()
        assert status == b"ok"
        answer: int = msgpack.unpackb(value)
        return answer


# The command line.


def test_the_command_changes_the_key_of_all_and_prints_it(
    start_process: Start, inside: Inside, tmp_path: Path
) -> None:
    old = mesh.generate_key()
    files = [key_file(tmp_path, name, old) for name in ("one", "two", "operator")]
    nodes = [begin(start_process, file, file.stem) for file in files[:2]]
    nodes[0].ask("wait_state", peer=nodes[1].id, states=["alive"])
    where = ("--seed", nodes[0].address, "--host", "127.0.0.1", "--key-file", str(files[2]))
    done = inside("rotate", *where, "--grace", "10m", "--json")
    assert done.code == 0, done.err
    told = json.loads(done.out)
    assert (told["told"], told["left"]) == (2, [])
    for file in files:
        until(lambda file=file: file.read_text().split()[0] == told["key"])
        assert file.read_text().split()[1:] == [
            "#until",
            file.read_text().split()[2],
            old,
        ]
    assert inside("peers", *where).out.count("alive") == 2


def test_with_nobody_there_nothing_is_changed(inside: Inside, tmp_path: Path) -> None:
    path = key_file(tmp_path, "operator", old := mesh.generate_key())
    done = inside("rotate", "--key-file", str(path), "--host", "127.0.0.1", "--timeout", "0.3")
    assert done.code == 1
    assert "nothing was changed" in done.err
    assert path.read_text() == f"{old}\n"


def test_without_a_key_there_is_none_to_change(inside: Inside) -> None:
    done = inside("rotate", "--timeout", "0.1")
    assert done.code == 2
    assert "no key to change" in done.err


@pytest.mark.parametrize("grace", ["soon", "0", "31d", "-1h"])
def test_a_grace_that_is_no_time_is_refused(inside: Inside, grace: str) -> None:
    done = inside("rotate", "--key", "words", "--grace", grace)
    assert done.code == 2
    assert "--grace" in done.err


@pytest.fixture
def mint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mesh_name: str) -> Mint:
    """The authority is where the command line looks for it."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    folder = authority_folder(mesh_name)
    folder.parent.mkdir(parents=True)
    return Mint(tmp_path, mesh_name, Authority.create(folder, mesh_name))


def test_the_authority_changes_the_key_and_others_cannot(
    mint: Mint,
    start_process: Start,
    inside: Inside,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    authority = mint.authority
    own, other = mint.identity("operator"), mint.identity("node")
    node = start_process("node", mesh=None, identity=str(other), host="127.0.0.1")
    old = authority.key
    words = ("--seed", node.address, "--host", "127.0.0.1", "--identity", str(own))
    done = inside("rotate", *words)
    assert done.code == 0, done.err
    new = done.out.strip()
    assert new != old
    assert authority.key == new
    for path in (own, other):
        until(lambda path=path: IdentityFile.load(path).key == new)
    # The same from a machine that has an identity, and not the authority.
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "elsewhere"))
    done = inside("rotate", *words)
    assert done.code == 1
    assert "run this on its machine" in done.err
    assert IdentityFile.load(other).key == new


def test_a_revocation_is_told_to_all_who_are_there(
    mint: Mint, start_process: Start, inside: Inside
) -> None:
    paths = {name: mint.identity(name) for name in ("operator", "good", "lost")}
    good = start_process("good", mesh=None, identity=str(paths["good"]), host="127.0.0.1")
    lost = start_process("lost", mesh=None, identity=str(paths["lost"]), host="127.0.0.1")
    good.ask("wait_state", peer=lost.id, states=["alive"])
    where = ("--seed", good.address, "--host", "127.0.0.1", "--identity", str(paths["operator"]))
    done = inside("revoke", "lost", *where)
    assert done.code == 0, done.err
    assert "told" in done.err
    good.ask("wait_state", peer=lost.id, states=["failed"])
    until(lambda: IdentityFile.load(paths["good"]).revocations.version == 1)
