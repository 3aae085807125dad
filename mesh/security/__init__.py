"""The mesh key: from a passphrase to encrypted, authenticated sockets."""

from mesh.security.curve import CurveKeys
from mesh.security.keys import generate_key

__all__ = ["CurveKeys", "generate_key"]
