"""Invites: a short code brings a machine into a mesh that has an authority.

The authority's machine waits (``Inviter``) while its holder tells the code to whoever sits at the
new one, which makes its key pair there and sends the public half (``join``). It gets a certificate
for it, and the mesh's key, once. Neither depends on a running mesh.
"""

from mesh.invites.codes import Code
from mesh.invites.exchange import Welcome
from mesh.invites.inviter import Inviter
from mesh.invites.joiner import NotInvited, join

__all__ = ["Code", "Inviter", "NotInvited", "Welcome", "join"]
