"""Request/reply: the caller's side, the server's side, and what both know of methods."""

from patterns.rpc.client import RpcClient
from patterns.rpc.method import Method, Request
from patterns.rpc.options import CallOptions
from patterns.rpc.providers import Providers
from patterns.rpc.server import RpcServer

__all__ = ["CallOptions", "Method", "Providers", "Request", "RpcClient", "RpcServer"]
