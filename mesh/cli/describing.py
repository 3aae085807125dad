"""What nodes say of their methods, put together: which nodes agree, and how it reads. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import mesh
from mesh.cli.asking import Answer
from mesh.cli.peer_view import is_shown
from mesh.cli.reading import items_of, number_of, text_of, texts_of, value_of
from mesh.cli.text import count_of, printable

__all__ = ["Described", "gather", "signature_of", "text"]

WIDTH = 88
"""Of a docstring's lines nothing is changed; a signature that is longer has a line for each
parameter."""

KINDS = {
    "call": "",
    "generator": "a generator, for iterate",
    "stream": "a stream, for open_stream or forward",
}

RUNS = {"coroutine": "as a coroutine", "loop": "on the event loop", "thread": "in a thread"}


@dataclass(slots=True)
class Described:
    """One way in which a method is served, and by whom; nodes that differ have one each."""

    name: str
    method: Mapping[str, Any]
    peers: list[mesh.Peer] = field(default_factory=list)


def gather(answers: Sequence[Answer], *, show_all: bool = True) -> list[Described]:
    """All methods, by name; of one that nodes describe differently first what most of them say."""
    found: dict[str, dict[str, Described]] = {}
    for answer in answers:
        for method in items_of(answer.value, "methods"):
            name = text_of(method, "name")
            if not is_shown(name, show_all=show_all):
                continue
            one = found.setdefault(name, {})
            one.setdefault(_fingerprint(method), Described(name, method)).peers.append(answer.peer)
    return [
        one
        for name in sorted(found)
        for one in sorted(found[name].values(), key=lambda d: (-len(d.peers), d.peers[0].id))
    ]


def _fingerprint(method: Mapping[str, Any]) -> str:
    """Of what matters to callers: a docstring, or a limit, may differ."""
    return f"{text_of(method, 'kind')} {signature_of(method)}"


def signature_of(method: Mapping[str, Any]) -> str:
    """ "calc.add(a: int, b: int = 2) -> int"."""
    words = list(_parameters(items_of(method, "parameters")))
    if left_out := number_of(method, "parameters_left_out"):
        words.append(f"... {left_out:g} more")
    name = text_of(method, "name").removesuffix("._stream")
    returns = text_of(method, "returns")
    end = f") -> {returns}" if returns else ")"
    line = f"{name}({', '.join(words)}{end}"
    if len(line) <= WIDTH:
        return line
    return f"{name}(\n" + "".join(f"    {word},\n" for word in words) + end


def _parameters(parameters: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """As they are written, with the marks ``/`` and ``*`` where they belong."""
    before = ""
    has_star = False
    for parameter in parameters:
        kind = text_of(parameter, "kind")
        if before == "positional_only" != kind:
            yield "/"
        if kind == "keyword_only" and not has_star:
            yield "*"
        has_star = has_star or kind in ("keyword_only", "var_positional")
        stars = {"var_positional": "*", "var_keyword": "**"}.get(kind, "")
        annotation, default = text_of(parameter, "annotation"), value_of(parameter, "default")
        word = f"{stars}{text_of(parameter, 'name')}"
        word += f": {annotation}" if annotation else ""
        if isinstance(default, str):
            word += f" = {default}" if annotation else f"={default}"
        yield word
        before = kind
    if before == "positional_only":
        yield "/"


def text(methods: Sequence[Described], answered: int) -> str:
    """For people; ``answered`` is how many nodes could serve each."""
    names = [one.name for one in methods]
    parts = []
    for one in methods:
        where = ""
        if names.count(one.name) > 1:
            where = f"at {', '.join(map(str, one.peers))}: other nodes have another signature"
        elif len(one.peers) < answered:
            where = f"at {len(one.peers)} of {answered} nodes: {', '.join(map(str, one.peers))}"
        doc = text_of(one.method, "doc").splitlines()
        lines = [signature_of(one.method), *(f"    {line}".rstrip() for line in doc)]
        lines.append(f"    [{_nature(one.method)}]")
        if where:
            lines.append(f"    [{where}]")
        parts.append("\n".join(lines))
    return printable("\n\n".join(parts))


def _nature(method: Mapping[str, Any]) -> str:
    """ "up to 64 at once, in a thread": what a caller has to expect."""
    concurrency = number_of(method, "concurrency")
    words = [
        KINDS.get(text_of(method, "kind"), text_of(method, "kind")),
        f"up to {concurrency:g} at once" if concurrency else "",
        RUNS.get(text_of(method, "runs"), ""),
        "keys have one owner" if value_of(method, "is_keyed") is True else "",
    ]
    return ", ".join(word for word in words if word)


def node_row(answer: Answer) -> tuple[str, ...]:
    """Node, version, groups, what it listens to, and why it says nothing."""
    listens = [
        text_of(one, "pattern") + (f" ({queue})" if (queue := text_of(one, "queue")) else "")
        for one in items_of(answer.value, "subscriptions")
        if text_of(one, "pattern")
    ]
    left_out = number_of(answer.value, "methods_left_out")
    more = f"{count_of(int(left_out), 'more method')} not told" if left_out else ""
    return (
        str(answer.peer),
        text_of(answer.value, "version"),
        ", ".join(texts_of(answer.value, "groups")),
        ", ".join(listens),
        answer.trouble or more,
    )


def document(methods: Sequence[Described], answers: Sequence[Answer]) -> dict[str, Any]:
    """For programs."""
    return {
        "methods": [
            {
                **one.method,
                "signature": " ".join(signature_of(one.method).split()),
                "nodes": [peer.id for peer in one.peers],
            }
            for one in methods
        ],
        "nodes": [
            {
                "id": answer.peer.id,
                "name": answer.peer.name,
                "version": text_of(answer.value, "version") or None,
                "groups": texts_of(answer.value, "groups"),
                "subscriptions": items_of(answer.value, "subscriptions"),
                "trouble": answer.trouble or None,
            }
            for answer in answers
        ],
    }
