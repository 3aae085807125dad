"""``[HOST:]PORT`` on a command line."""

from __future__ import annotations

import click
import pytest

from mesh.cli.tunnel.address import Address, AddressType


@pytest.mark.parametrize(
    ("word", "host", "port", "text"),
    [
        ("3000", "127.0.0.1", 3000, "127.0.0.1:3000"),
        ("db.lan:5432", "db.lan", 5432, "db.lan:5432"),
        ("0.0.0.0:65535", "0.0.0.0", 65535, "0.0.0.0:65535"),
        ("[::1]:80", "::1", 80, "[::1]:80"),
        ("localhost:0", "localhost", 0, "localhost:0"),
    ],
)
def test_an_address_is_a_port_with_or_without_a_host(
    word: str, host: str, port: int, text: str
) -> None:
    address = AddressType(0).convert(word, None, None)
    assert address == Address(host, port)
    assert str(address) == text
    assert AddressType(0).convert(address, None, None) == address


@pytest.mark.parametrize(
    "word",
    [
        "",
        "web",
        ":80",
        "a:",
        "a:b",
        "::1:80",
        "65536",
        "-1",
        "a:٣",
        "9" * 5000,
        "db..lan:80",
        "x" * 64 + ":80",
    ],
)
def test_anything_else_is_wrong_usage(word: str) -> None:
    with pytest.raises(click.BadParameter):
        AddressType(0).convert(word, None, None)


def test_who_connects_needs_a_port() -> None:
    with pytest.raises(click.BadParameter):
        AddressType(1).convert("0", None, None)
