"""Which peer is meant by a word."""

from __future__ import annotations

import click
import pytest

import mesh
from mesh.cli.peer_names import matching, the_one

PEERS = [
    mesh.Peer(id="1a2b" + "0" * 28, name="calc", instance="calc-1"),
    mesh.Peer(id="1a2c" + "0" * 28, name="calc", instance="calc-2"),
    mesh.Peer(id="beef" + "0" * 28, name="shop", instance="beef" + "0" * 28),
]


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("calc", [0, 1]),
        ("calc-2", [1]),
        ("shop", [2]),
        ("1a2b", [0]),
        ("1A2B00", [0]),
        ("beef" + "0" * 28, [2]),
        ("1a2", []),
        ("bee", []),
        ("", []),
        ("Calc", []),
    ],
)
def test_a_name_an_instance_an_id_or_four_digits_of_it(word: str, meant: list[int]) -> None:
    assert matching(PEERS, word) == [PEERS[i] for i in meant]


def test_the_one_is_neither_none_nor_several() -> None:
    assert the_one(PEERS, "shop", among="peers", advice="look") is PEERS[2]
    with pytest.raises(click.ClickException, match="'x' is none of the peers; look"):
        the_one(PEERS, "x", among="peers", advice="look")
    with pytest.raises(click.ClickException, match=r"'calc' can mean 2 peers: calc/1a2b0000, "):
        the_one(PEERS, "calc", among="peers", advice="look")
