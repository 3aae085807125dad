"""Who may be here: the mesh key, the keys of nodes, and what members know of each other."""

from mesh.security.credentials import Credentials
from mesh.security.curve import CurveKeyPair, NodeKey
from mesh.security.keys import MeshKey, curve_keys, generate_key

__all__ = ["Credentials", "CurveKeyPair", "MeshKey", "NodeKey", "curve_keys", "generate_key"]
