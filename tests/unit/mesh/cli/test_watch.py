"""How events are named and printed."""

from __future__ import annotations

import json
import re

import pytest

import mesh
from mesh.cli.commands.watch import name_of, show

PEER = mesh.Peer(id="1a2b" + "0" * 28, name="calc")

EVENTS = {
    mesh.PeerJoined: "joined",
    mesh.PeerUpdated: "updated",
    mesh.PeerSuspected: "suspected",
    mesh.PeerRecovered: "recovered",
    mesh.PeerUnresponsive: "unresponsive",
    mesh.PeerFailed: "failed",
    mesh.PeerLeft: "left",
    mesh.Gap: "gap",
}


def test_every_event_has_a_name() -> None:
    public = [getattr(mesh, name) for name in mesh.__all__]
    kinds = {kind for kind in public if isinstance(kind, type) and issubclass(kind, mesh.Event)}
    assert kinds - {mesh.Event} == set(EVENTS)
    assert {kind: name_of(kind(PEER)) for kind in EVENTS} == EVENTS


@pytest.mark.parametrize(
    ("missed", "says"),
    [
        (1, "1 message lost on the way here"),
        (7, "7 messages lost on the way here"),
        (None, "an unknown number of messages lost on the way here"),
    ],
)
def test_a_gap_says_how_much_was_lost(
    missed: int | None, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    gap = mesh.Gap(PEER, "messages were lost on the way here", missed)
    show(gap, as_json=False)
    assert re.fullmatch(
        rf"\d\d:\d\d:\d\d\.\d{{3}}  gap           calc/1a2b0000  {says}\n", capsys.readouterr().out
    )
    show(gap, as_json=True)
    document = json.loads(capsys.readouterr().out)
    assert (document["event"], document["missed"]) == ("gap", missed)
    show(mesh.PeerLeft(PEER, "closed"), as_json=True)
    assert "missed" not in json.loads(capsys.readouterr().out)
