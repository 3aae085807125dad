"""The mesh key: from a passphrase to encrypted, authenticated sockets."""

from mesh.security.curve import CurveKeyPair, CurveKeys, curve_keys
from mesh.security.keys import generate_key

__all__ = ["CurveKeyPair", "CurveKeys", "curve_keys", "generate_key"]
