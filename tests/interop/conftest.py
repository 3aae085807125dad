"""The fixtures of the tests on real sockets."""

from tests.net.conftest import _no_environment, make_node, mesh_name

__all__ = ["_no_environment", "make_node", "mesh_name"]
