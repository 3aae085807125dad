"""TCP through the mesh: a local server as a stream service, and a local port that leads to one."""
