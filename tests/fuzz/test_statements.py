"""What an authority signs, what an invite exchanges and identity files, fed with garbage.

The laws are those of ``tests.fuzz.test_decoders``. A signature or a seal would keep all garbage
out, so what is fed here is also signed and sealed: as by an authority of another version, or by
somebody who has the code of an invite.
"""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable
from pathlib import Path

import msgpack
import pytest
from hypothesis import strategies as st

from mesh.invites.exchange import Request, Saved, Used, Welcome
from mesh.security.boxes import seal_for
from mesh.security.certificates import (
    CERTIFICATE,
    MAX_REVOCATIONS_BYTES,
    REVOCATIONS,
    ROTATION,
    Certificate,
    Revocations,
    RotationOrder,
)
from mesh.security.identity_file import IdentityFile
from mesh.security.sealing import seal
from mesh.security.signed import SIGNATURE_BYTES
from mesh.wire.frames import BadFrame
from patterns.errors import ConfigError
from tests.fuzz.test_decoders import LIES, SHORT_EXAMPLES, Decoder, check, damaged, fuzz
from tests.unit.mesh.security import statements

KEY = bytes(range(32))
REQUEST = Request(bytes(16), statements.NODE_KEY)
WELCOME = Welcome(
    "lab", statements.KEY, statements.certificate().raw, statements.PUBLIC, b"revocations"
)
PACKED_WELCOME = msgpack.packb(
    [
        "welcome",
        REQUEST.nonce,
        REQUEST.node_key,
        *(WELCOME.mesh, WELCOME.key, WELCOME.certificate, WELCOME.authority, WELCOME.revocations),
    ]
)
FOLDER = tempfile.TemporaryDirectory()
"""For the files that are fed; it goes with the process."""


def refusing(decode: Callable[[bytes], object]) -> Callable[[bytes], object]:
    """The same with the one error that the laws know."""

    @functools.wraps(decode)
    def refuse(data: bytes) -> object:
        try:
            return decode(data)
        except ConfigError as error:
            raise BadFrame(str(error)) from None

    return refuse


def signed(kind: bytes, payload: bytes) -> bytes:
    from nacl.signing import SigningKey

    return SigningKey(statements.SEED).sign(kind + payload).signature + payload


def load_identity(content: bytes) -> object:
    path = Path(FOLDER.name, "fed.identity")
    path.write_bytes(content)
    path.chmod(0o600)
    return IdentityFile.load(path)


def sample_identity() -> bytes:
    path = Path(FOLDER.name, "sample.identity")
    IdentityFile(
        "lab",
        statements.KEY,
        statements.NODE_SECRET,
        statements.certificate(),
        statements.PUBLIC,
        statements.revocations(3, b"serial 7"),
    ).save(path)
    return path.read_bytes()


REVOKED = statements.revocations(1, b"serial 1")
RAW = [
    ("certificate", CERTIFICATE, Certificate.from_bytes, statements.certificate().raw),
    (
        "revocations",
        REVOCATIONS,
        Revocations.from_bytes,
        statements.revocations(1, b"serial 1").raw,
    ),
    ("rotation", ROTATION, RotationOrder.from_bytes, statements.rotation().raw),
]

DECODERS = [
    *(
        Decoder(name, refusing(lambda data, read=read: read(data, statements.PUBLIC)), (raw,))
        for name, _, read, raw in RAW
    ),
    *(
        Decoder(
            f"signed_{name}",
            refusing(
                lambda data, kind=kind, read=read: read(signed(kind, data), statements.PUBLIC)
            ),
            (raw[SIGNATURE_BYTES:],),
        )
        for name, kind, read, raw in RAW
    ),
    Decoder("request", lambda data: Request.unpack(KEY, data), (REQUEST.pack(KEY),)),
    Decoder(
        "sealed_request",
        lambda data: Request.unpack(KEY, seal(KEY, data)),
        (msgpack.packb(["join", REQUEST.nonce, REQUEST.node_key]),),
    ),
    Decoder(
        "welcome",
        lambda data: Welcome.unpack(KEY, statements.NODE_SECRET, REQUEST, data),
        (WELCOME.pack(KEY, REQUEST),),
    ),
    Decoder(
        "sealed_welcome",
        lambda data: Welcome.unpack(
            KEY, statements.NODE_SECRET, REQUEST, seal(KEY, seal_for(statements.NODE_KEY, data))
        ),
        (PACKED_WELCOME,),
    ),
    Decoder(
        "sealed_word",
        lambda data: (
            Saved.is_one(KEY, REQUEST.nonce, seal(KEY, data)),
            Used.is_one(KEY, REQUEST.nonce, data),
        ),
        (msgpack.packb(["saved", REQUEST.nonce]), Used.pack(KEY, REQUEST.nonce)),
    ),
    Decoder("identity_file", refusing(load_identity), (sample_identity(),)),
]

by_decoder = pytest.mark.parametrize("decoder", DECODERS, ids=lambda decoder: decoder.name)


@by_decoder
def test_a_valid_input_is_taken(decoder: Decoder) -> None:
    for data in decoder.valid:
        decoder.decode(data)


@by_decoder
def test_garbage_is_refused_and_nothing_worse(decoder: Decoder) -> None:
    fuzz(decoder, st.binary(max_size=400) | damaged(decoder.valid), SHORT_EXAMPLES)


@by_decoder
def test_every_truncation_and_flip_is_refused_and_nothing_worse(decoder: Decoder) -> None:
    for valid in decoder.valid:
        for at in range(min(len(valid), 300)):
            check(decoder, valid[:at])
            for flip in (0x01, 0x80, 0xFF):
                flipped = bytearray(valid)
                flipped[at] ^= flip
                check(decoder, bytes(flipped))


@by_decoder
@pytest.mark.parametrize("lie", LIES)
def test_lies_and_what_is_too_long_are_refused_and_nothing_worse(
    decoder: Decoder, lie: bytes
) -> None:
    for valid in decoder.valid:
        check(decoder, valid + lie * 1100)
        check(decoder, lie * 150)
        check(decoder, lie * 1100 + b"\x01" * MAX_REVOCATIONS_BYTES)
