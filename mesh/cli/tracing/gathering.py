"""Asking all nodes what they have kept of traces, and who did not say."""

from __future__ import annotations

from typing import Any

import mesh
from mesh.cli import errors

__all__ = ["gather"]

HERE = ("alive", "unresponsive", "suspect")


def gather(
    node: mesh.Node, method: str, *args: Any, timeout: float
) -> tuple[list[tuple[mesh.Peer, dict[str, Any]]], dict[mesh.Peer, str]]:
    """What each node answers to ``_mesh.`` and the method, observers too, and why others do not."""
    node.wait_for(timeout=timeout)
    peers = [peer for peer in node.peers(all=True) if peer.state in HERE]
    if not peers:
        return [], {}
    with node.survey(f"_mesh.{method}", *args, peers=peers, timeout=timeout) as asking:
        asking.wait()
    answers = [(r.peer, r.value) for r in asking.replies if isinstance(r.value, dict)]
    silent = {peer: _reason(error) for peer, error in asking.failed.items()}
    return answers, silent | dict.fromkeys(asking.missing, f"no answer within {timeout:g} s")


def _reason(error: mesh.MeshError) -> str:
    if isinstance(error, mesh.NoProvider):
        return "it is of a version without traces"
    return errors.plain(error)
