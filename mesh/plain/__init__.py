"""The gateway for plain ZeroMQ clients: what they may ask and hear, and the bounds on it."""

from mesh.plain.gateway import Gateway

__all__ = ["Gateway"]
