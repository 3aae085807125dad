"""The sockets: ZeroMQ behind the engine's transport port."""

from mesh.transport.zmq_transport import ZmqTransport

__all__ = ["ZmqTransport"]
