"""Who may be here and who may do what: mesh keys, the keys and identities of nodes, policies."""

from mesh.security.credentials import Credentials
from mesh.security.curve import CurveKeyPair, NodeKey
from mesh.security.identity import Identity
from mesh.security.keys import MeshKey, curve_keys, generate_key
from mesh.security.policy import Policy
from mesh.security.rules import Rule

__all__ = [
    "Credentials",
    "CurveKeyPair",
    "Identity",
    "MeshKey",
    "NodeKey",
    "Policy",
    "Rule",
    "curve_keys",
    "generate_key",
]
