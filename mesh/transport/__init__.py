"""The sockets: ZeroMQ behind the engine's transport port, and the ones for plain clients."""

from mesh.transport.plain import PlainEndpoints, PlainSockets
from mesh.transport.zmq_transport import ZmqTransport

__all__ = ["PlainEndpoints", "PlainSockets", "ZmqTransport"]
