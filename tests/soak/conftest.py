"""Fixtures of the tests on real sockets."""

from tests.net.conftest import _no_environment, mesh_name

__all__ = ["_no_environment", "mesh_name"]
