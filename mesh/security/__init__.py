"""The mesh key: from a passphrase to encrypted, authenticated sockets; who may do what."""

from mesh.security.curve import CurveKeyPair, CurveKeys, curve_keys
from mesh.security.identity import Identity
from mesh.security.keys import generate_key
from mesh.security.policy import Policy
from mesh.security.rules import Rule

__all__ = [
    "CurveKeyPair",
    "CurveKeys",
    "Identity",
    "Policy",
    "Rule",
    "curve_keys",
    "generate_key",
]
