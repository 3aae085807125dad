"""Sealed messages: readable by whom they are for, unchanged, or not at all."""

from __future__ import annotations

import secrets

import pytest
import zmq
from hypothesis import given
from hypothesis import strategies as st
from zmq.utils import z85

from mesh.security.boxes import new_secret, public_of, seal_for, unseal_with
from mesh.security.sealing import seal, unseal

SECRET = new_secret()


@given(st.binary(max_size=200), st.binary(min_size=32, max_size=32))
def test_what_is_sealed_is_opened_with_the_same_key_only(data: bytes, key: bytes) -> None:
    sealed = seal(key, data)
    assert unseal(key, sealed) == data
    assert unseal(secrets.token_bytes(32), sealed) is None
    assert seal(key, data) != sealed


@given(st.binary(max_size=200))
def test_what_is_sealed_for_a_node_is_opened_with_its_secret_only(data: bytes) -> None:
    sealed = seal_for(public_of(SECRET), data)
    assert unseal_with(SECRET, sealed) == data
    assert unseal_with(new_secret(), sealed) is None


@pytest.mark.parametrize("open_box", [True, False])
def test_what_was_changed_is_not_opened(open_box: bool) -> None:
    sealed = seal(SECRET, b"text") if open_box else seal_for(public_of(SECRET), b"text")
    unsealed = unseal if open_box else unseal_with
    assert unsealed(SECRET, sealed) == b"text"
    for size in range(len(sealed)):
        assert unsealed(SECRET, sealed[:size]) is None
    for at in range(len(sealed)):
        changed = bytearray(sealed)
        changed[at] ^= 1
        assert unsealed(SECRET, bytes(changed)) is None


def test_a_node_key_is_a_curve_key() -> None:
    for _ in range(20):
        secret = new_secret()
        assert z85.encode(public_of(secret)) == zmq.curve_public(z85.encode(secret))
    from nacl.public import PrivateKey

    assert bytes(PrivateKey(SECRET).public_key) == public_of(SECRET)
