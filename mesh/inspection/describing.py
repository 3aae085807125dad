"""Methods as their callers want to know them: signature, what is written about it, how it answers.

Pure, and every text has a bound: an author's annotation, default or docstring can be of any size,
and what describes a node has to fit a reply. What was cut ends with an ellipsis.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import Any

from patterns.rpc import Method
from patterns.streams.method import STREAM_METHOD, StreamMethod, is_generator

__all__ = ["MAX_DOC_CHARS", "MAX_METHODS", "MAX_PARAMETERS", "MAX_TEXT_CHARS", "describe_methods"]

MAX_METHODS = 256
"""Methods that are described; a node with more tells how many it left out."""

MAX_PARAMETERS = 64
"""Of a method; nobody reads more, and a generated function may have any number."""

MAX_TEXT_CHARS = 120
"""Of an annotation: a line of a terminal."""

MAX_DOC_CHARS = 4096
"""Of a docstring: two screens of text."""


def describe_methods(methods: Iterable[Method]) -> tuple[list[dict[str, Any]], int]:
    """Each method as a value that can be packed, by name, and how many were left out."""
    known = sorted(methods, key=lambda method: method.full_name)
    described = [_describe(method) for method in known[:MAX_METHODS]]
    return described, max(0, len(known) - MAX_METHODS)


def _describe(method: Method) -> dict[str, Any]:
    signature = method.signature
    is_stream = isinstance(method, StreamMethod)
    is_generated = is_stream and is_generator(method.function)
    parameters = list(signature.parameters.values())
    return {
        "name": method.full_name,
        "kind": "generator" if is_generated else "stream" if is_stream else "call",
        "parameters": [_parameter(one) for one in parameters[:MAX_PARAMETERS]],
        "parameters_left_out": max(0, len(parameters) - MAX_PARAMETERS),
        "returns": _annotation(signature.return_annotation),
        "doc": _doc(method),
        "concurrency": method.concurrency,
        "runs": _runs(method),
        "is_keyed": method.tenure is not None,
    }


def _runs(method: Method) -> str:
    """Where: "coroutine", "loop" or "thread"."""
    is_async = method.serves_async if isinstance(method, StreamMethod) else method.is_async
    return "coroutine" if is_async else "loop" if method.inline else "thread"


def _parameter(parameter: inspect.Parameter) -> dict[str, Any]:
    has_default = parameter.default is not parameter.empty
    return {
        "name": parameter.name,
        "kind": parameter.kind.name.lower(),
        "annotation": _annotation(parameter.annotation),
        "default": _representation(parameter.default) if has_default else None,
    }


def _annotation(annotation: Any) -> str | None:
    if annotation is inspect.Signature.empty:
        return None
    if isinstance(annotation, str):  # as ``from __future__ import annotations`` leaves them
        return _cut(annotation, MAX_TEXT_CHARS)
    try:
        return _cut(inspect.formatannotation(annotation), MAX_TEXT_CHARS)
    except Exception:  # noqa: BLE001  any object may be an annotation, and its text is its author's
        return "?"


def _representation(value: Any) -> str:
    """Of a plain default; what else it is may be a secret, or take long to write down."""
    is_plain = value is None or type(value) in (bool, float)
    is_number = type(value) is int and value.bit_length() < 64
    is_empty = type(value) in (str, bytes, tuple) and not value
    return repr(value) if is_plain or is_number or is_empty else "…"


def _doc(method: Method) -> str:
    if method.name == STREAM_METHOD:
        return ""  # what it runs is ours
    doc = inspect.getdoc(inspect.unwrap(method.function))
    return _cut(doc, MAX_DOC_CHARS) if isinstance(doc, str) else ""


def _cut(text: str, most: int) -> str:
    plain = text.encode(errors="replace").decode()  # a lone surrogate cannot be packed
    return plain if len(plain) <= most else f"{plain[: most - 1]}…"
