"""Permissions between processes that prove who they are by certificates."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import mesh
from tests.net.identities import Mint
from tests.net.processes import NodeProcess, until

Start = Callable[..., NodeProcess]

POLICY = """
default = "deny"

[[rule]]
name = "clerks"
who = ["role:clerk"]
allow.call = ["desk.echo"]
allow.publish = ["orders.>"]
allow.subscribe = ["news.>"]

[[rule]]
name = "the-desk"
who = ["desk"]
allow.publish = [">"]
allow.subscribe = [">"]
"""


@pytest.fixture
def office(tmp_path: Path, start_process: Start, mesh_name: str) -> dict[str, NodeProcess]:
    """A desk with the policy, and two who have none and may try what they like."""
    mint = Mint(tmp_path, mesh_name)
    policy = tmp_path / "policy.toml"
    policy.write_text(POLICY)

    def identity(name: str, *roles: str) -> str:
        return str(mint.identity(name, *roles))

    given = {"mesh": None, "host": "127.0.0.1"}
    desk = start_process(
        "desk", identity=identity("desk"), policy=str(policy), subscribe=("orders.>",), **given
    )
    clerk = start_process(
        "clerk", identity=identity("ann", "clerk"), subscribe=("news.>", "secret.>"), **given
    )
    # Its name is the desk's; its certificate says who it is.
    guest = start_process("desk", identity=identity("guest"), subscribe=("news.>",), **given)
    for one in (clerk, guest):
        one.ask("wait_state", peer=desk.id, states=["alive"])
        desk.ask("wait_state", peer=one.id, states=["alive"])
    return {"desk": desk, "clerk": clerk, "guest": guest}


def test_who_may_call_is_answered_and_who_may_not_starts_nothing(
    office: dict[str, NodeProcess],
) -> None:
    desk = office["desk"]
    at_desk = {"peer": desk.id}
    assert office["clerk"].ask("call", method="desk.echo", args=[7], **at_desk) == 7
    with pytest.raises(AssertionError, match="AccessDenied"):
        office["clerk"].ask("call", method="desk.work", args=[1], **at_desk)
    with pytest.raises(AssertionError, match="AccessDenied"):
        office["guest"].ask("call", method="desk.echo", args=[7], **at_desk)
    assert desk.ask("started") == []
    assert desk.ask("counters")["denied_call"] == 2


def test_who_may_publish_is_heard_and_who_may_not_is_not(office: dict[str, NodeProcess]) -> None:
    desk = office["desk"]
    for _ in range(3):
        office["guest"].ask("send", peer=desk.id, subject="orders.new", data=["guest"])
        office["clerk"].ask("send", peer=desk.id, subject="orders.new", data=["clerk"])
    until(lambda: len(desk.ask("received")) == 3)
    assert {data[0] for _, _, data, _ in desk.ask("received")} == {"clerk"}
    # On a link of its own: the guest's last one may come after the clerk's.
    until(lambda: desk.ask("counters").get("denied_publish") == 3)


def test_who_may_subscribe_gets_it_and_nobody_else_does(office: dict[str, NodeProcess]) -> None:
    desk = office["desk"]
    assert desk.ask("publish", subject="news.today") == [1], "the guest has not asked, to the desk"
    assert desk.ask("publish", subject="secret.plan") == [0]
    until(lambda: office["clerk"].ask("numbers") == [0])
    assert office["guest"].ask("received") == []


def test_a_policy_without_an_identity_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_text(POLICY)
    with pytest.raises(mesh.ConfigError, match="identity"):
        mesh.Node("desk", policy=path).start()
