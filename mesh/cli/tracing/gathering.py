"""Asking all nodes what they have kept of traces, and who did not say."""

from __future__ import annotations

import re
from typing import Any

import mesh
from mesh.cli import errors

__all__ = ["gather", "spans_of", "traces_of"]

MAX_TIME = 2.0**37
"""Seconds since 1970, in the year 6325: what is later, earlier than 1970 or no number is no time.
Dates end with the year 9999."""

_TRACE_ID = re.compile("[0-9a-f]{32}")

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


Fields = dict[str, type | tuple[type, ...]]

_SPAN: Fields = {
    "trace": str,
    "span": str,
    "parent": (str, type(None)),
    "kind": str,
    "name": str,
    "peer": (str, type(None)),
    "start": float,
    "seconds": float,
    "error": (str, type(None)),
    "attributes": dict,
    "events": list,
}
_TRACE: Fields = {
    "trace": str,
    "name": str,
    "start": float,
    "end": float,
    "spans": int,
    "errors": int,
    "has_root": bool,
}


def spans_of(answer: dict[str, Any]) -> list[dict[str, Any]]:
    """The spans in an answer of another node, without what are none."""
    return [
        {**span, "events": [e for e in span["events"] if _is_event(e)]}
        for span in _whole(answer.get("spans"), _SPAN)
    ]


def traces_of(answer: dict[str, Any]) -> list[dict[str, Any]]:
    """Likewise the traces."""
    return _whole(answer.get("traces"), _TRACE)


def _whole(found: Any, fields: Fields) -> list[dict[str, Any]]:
    """Those that have all fields, as they must be: another node may send anything."""
    return [
        one
        for one in (found if isinstance(found, list) else ())
        if isinstance(one, dict)
        and all(isinstance(one.get(name), kinds) for name, kinds in fields.items())
        and all(0.0 <= value < MAX_TIME for value in one.values() if isinstance(value, float))
        and _TRACE_ID.fullmatch(one["trace"])
    ]


def _is_event(event: Any) -> bool:
    return (
        isinstance(event, list)
        and len(event) == 2
        and isinstance(event[0], float)
        and 0.0 <= event[0] < MAX_TIME
        and isinstance(event[1], str)
    )


def _reason(error: mesh.MeshError) -> str:
    if isinstance(error, mesh.NoProvider):
        return "it is of a version without traces"
    return errors.plain(error)
