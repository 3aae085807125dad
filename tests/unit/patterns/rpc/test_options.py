"""How a call is made, checked once."""

from __future__ import annotations

from typing import Any

import pytest

from patterns.errors import BadName, ConfigError
from patterns.keys import MAX_KEY_BYTES
from patterns.rpc import CallOptions
from tests.unit.patterns.rpc.port import Node


@pytest.mark.parametrize(
    ("key", "form"), [("user:7", b"user:7"), (b"\xff\x00", b"\xff\x00"), (-7, b"-7"), ("", b"")]
)
def test_a_key_is_kept_as_given_beside_its_canonical_form(key: Any, form: bytes) -> None:
    options = CallOptions(key=key)
    assert (options.key, type(options.key)) == (key, type(key))
    assert options.canonical_key == form


@pytest.mark.parametrize("key", [True, 1.5, ["a"], "\ud800", "x" * (MAX_KEY_BYTES + 1)])
def test_a_bad_key_is_refused_when_the_options_are_made(key: Any) -> None:
    with pytest.raises(BadName):
        CallOptions(key=key)


def test_a_key_and_a_peer_together_are_refused() -> None:
    with pytest.raises(ConfigError, match="not both"):
        CallOptions(key="k", target=lambda: Node("a"))


def test_without_a_key_there_is_no_canonical_form() -> None:
    assert CallOptions().canonical_key is None
