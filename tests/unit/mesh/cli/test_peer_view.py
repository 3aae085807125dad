"""How a peer is shown."""

from __future__ import annotations

import mesh
from mesh.cli.peer_view import COLUMNS, as_document, as_row


def state(peer: mesh.Peer) -> str:
    return dict(zip(COLUMNS, as_row(peer), strict=True))["state"]


def test_methods_that_a_peer_is_not_called_for_are_shown_beside_its_state() -> None:
    peer = mesh.Peer("0" * 32, "calc", ejected=("calc.add", "calc.sub"))
    assert state(peer) == "alive, not called for calc.add calc.sub"
    assert as_document(peer)["ejected"] == ("calc.add", "calc.sub")
    assert state(mesh.Peer("0" * 32, "calc", is_observer=True)) == "alive, observer"
    assert as_document(mesh.Peer("0" * 32, "calc"))["ejected"] == ()
