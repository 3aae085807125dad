"""Rules about nodes that were heard of and are not linked with ours: why are they not?

First by what they claim to be, then by what the other side said, then by what a TCP connection
met, for a refused node needs no look at firewalls.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from mesh.cli.doctor.facts import Facts, Other
from mesh.cli.doctor.findings import Finding, Gravity, listed

__all__ = ["has_own_mesh", "on_strangers"]

_ENDED = ("failed", "left")


def on_strangers(facts: Facts) -> Iterator[Finding]:
    """All of them."""
    yield from _other_meshes(facts)
    yield from _other_keys(facts)
    yield from _other_protocols(facts)
    for other in facts.others:
        if not _is_mismatch(other):
            yield _refused(other) or _not_linked(facts, other)


def _is_mismatch(other: Other) -> bool:
    return other.cause in _MESH or other.cause in _KEY or other.cause in _PROTOCOL


_MESH = ("other-mesh", "refused-mesh")
_KEY = ("other-key", "key-only-there", "key-only-here", "refused-key")
_PROTOCOL = ("other-protocol", "refused-protocol")


def _finding(
    code: str, gravity: Gravity, others: Sequence[Other], what: str, why: str = "", do: str = ""
) -> Finding:
    nodes = tuple(other.id for other in others if other.id)
    addresses = dict.fromkeys(address for other in others for address in other.addresses)
    return Finding(code, gravity, what, why, do, nodes, tuple(addresses))


def _by(others: Iterable[Other], of: str) -> dict[str, list[Other]]:
    groups: dict[str, list[Other]] = {}
    for other in others:
        groups.setdefault(getattr(other, of), []).append(other)
    return groups


def _places(others: Iterable[Other]) -> str:
    return listed(other.place for other in others)


def _other_meshes(facts: Facts) -> Iterator[Finding]:
    """Meshes may share a network. It is a problem where nobody is here, or one was wanted."""
    found = [other for other in facts.others if other.cause in _MESH]
    wanted = [other for other in found if other.is_wanted or other.cause == "refused-mesh"]
    advice = "the same --mesh (MESH_NAME, mesh=) on both sides, if they are to meet"
    for other in wanted:
        which = f"mesh {other.mesh!r}" if other.mesh else "another mesh"
        what = f"{other.place} is of {which}, this one is {facts.own.mesh!r}"
        told = other.text if other.cause == "refused-mesh" else ""
        yield _finding("other-mesh", "problem", [other], what, told, advice)
    heard = [other for other in found if other not in wanted]
    if heard:
        each = (f"{name!r} ({_places(some)})" for name, some in _by(heard, "mesh").items())
        yield _finding(
            "other-mesh",
            "note" if has_own_mesh(facts) else "problem",
            heard,
            f"nodes of other meshes, this one is {facts.own.mesh!r}: {listed(each)}",
            do=advice,
        )


def has_own_mesh(facts: Facts) -> bool:
    """Whether anybody of our mesh is there, linked with us or not."""
    others = [other for other in facts.others if other.cause not in _MESH]
    members = [member for member in facts.members if not member.is_observer]
    is_heard = any(
        node.mesh == facts.own.mesh and node.id != facts.own.id
        for report in facts.machine.multicast
        for node in report.nodes
    )
    return bool(is_heard or others or members)


def _other_keys(facts: Facts) -> Iterator[Finding]:
    ours = facts.own.fingerprint
    same = "the same --key-file (MESH_KEY, key=) on both sides"
    by_cause = _by((other for other in facts.others if other.cause in _KEY), "cause")
    for print_, others in _by(by_cause.get("other-key", ()), "fingerprint").items():
        yield _finding(
            "other-key",
            "problem",
            others,
            f"another key: {_places(others)}",
            f"its fingerprint is {print_}, that of ours {ours}",
            same,
        )
    if others := by_cause.get("refused-key", []):
        yield _finding(
            "other-key", "problem", others, f"another key: {_places(others)}", others[0].text, same
        )
    if others := by_cause.get("key-only-there", []):
        yield _finding(
            "key-only-there",
            "problem",
            others,
            f"a key there, and none here: {_places(others)}",
            f"the fingerprint of theirs is {listed(one.fingerprint for one in others)}",
            "give it: --key-file FILE (MESH_KEY, MESH_IDENTITY)",
        )
    if others := by_cause.get("key-only-here", []):
        yield _finding(
            "key-only-here",
            "problem",
            others,
            f"a key here, and none there: {_places(others)}",
            f"the fingerprint of ours is {ours}",
            "start those with the key, or this without",
        )


def _other_protocols(facts: Facts) -> Iterator[Finding]:
    found = [other for other in facts.others if other.cause in _PROTOCOL]
    for others in _by(found, "protocol").values():
        yield _finding(
            "other-protocol",
            "problem",
            others,
            f"another version of the protocol: {_places(others)}",
            others[0].text,
            "the same version of mesh on both sides ('meshctl --version')",
        )


def _refused(other: Other) -> Finding | None:
    """The other side said no, for a reason of its own."""
    if not other.cause.startswith("refused-"):
        return None
    code = other.cause.removeprefix("refused-")
    if code == "full":
        return _finding(
            "refused-full",
            "problem",
            [other],
            f"{other.place} has no room for us",
            other.text,
            "raise its descriptor limit: ulimit -n, LimitNOFILE=",
        )
    return _finding(
        "refused",
        "problem",
        [other],
        f"{other.place} refuses us",
        other.text,
        "'meshctl identity' shows what this machine has, 'meshctl invite' gives another",
    )


def _not_linked(facts: Facts, other: Other) -> Finding:
    """By what TCP met. The gravest of several addresses is that which was nearest to a link."""
    by_result: dict[str, list[str]] = {}
    for tried in other.tried:
        by_result.setdefault(tried.result, []).append(tried.address)
    for results, tell in _BY_RESULT:
        for result in results:
            if result in by_result:
                return tell(facts, other, by_result[result])
    if other.answers_us:
        return _cannot_come(facts, other)
    return _finding(
        "not-tried",
        "note",
        [other],
        f"{other.place} is not linked, and was not tried",
        other.text,
        "'meshctl discovery' tells more; a longer --timeout gives it time",
    )


def _answers(facts: Facts, other: Other, addresses: Sequence[str]) -> Finding:
    if other.answers_us:
        return _cannot_come(facts, other)
    is_keyed = "keyed" in {tried.result for tried in other.tried}
    if is_keyed and not facts.own.fingerprint:
        return _finding(
            "key-only-there",
            "problem",
            [other],
            f"a key there, and none here: {other.place}",
            "a door answers, and asks for a key",
            "give it: --key-file FILE (MESH_KEY, MESH_IDENTITY)",
        )
    if is_keyed:
        return _finding(
            "behind-the-door",
            "problem",
            [other],
            f"the door of {other.place} answers, and its link socket does not",
            "a firewall lets the door's port in and not the one behind it, or its Python is busy",
            "let all TCP ports of that program in, not the door's alone",
        )
    if facts.own.fingerprint:
        return _finding(
            "key-only-here",
            "problem",
            [other],
            f"a key here, and none there: {other.place}",
            "ZeroMQ answers without a door, so it is a node without a key, or no node",
            "start it with the key, or this without",
        )
    return _finding(
        "not-answering",
        "problem",
        [other],
        f"{other.place} accepts connections, and does not answer as a node",
        "its Python is blocked (a handler that does not return, swapping), or it is no node",
        "look at that process: a stack (py-spy dump), its log",
    )


def _cannot_come(facts: Facts, other: Other) -> Finding:
    return _finding(
        "blocked-to-us",
        "problem",
        [other],
        f"one-way: {other.place} answers us, and has not connected to us",
        f"no way from there to {listed(facts.own.addresses)}: a firewall here drops what comes in "
        "on that port, or these are addresses of another network",
        "let TCP to that port in (port= keeps it the same); --interface chooses what is announced",
    )


def _silent(facts: Facts, other: Other, addresses: Sequence[str]) -> Finding:
    return _finding(
        "stopped",
        "problem",
        [other],
        f"{other.place} accepts connections and says nothing",
        "its process is stopped or hangs (SIGSTOP, a debugger, a frozen container), or another "
        "program listens there",
        "look at that process: 'ps' shows T for stopped, kill -CONT lets it go on",
    )


def _alien(facts: Facts, other: Other, addresses: Sequence[str]) -> Finding:
    return _finding(
        "not-a-node",
        "warning",
        [other],
        f"{listed(addresses)} is no node",
        "something answers there with another protocol, or hangs up",
        "give the port of a node: 'meshctl peers' lists them where they are seen",
    )


def _timeout(facts: Facts, other: Other, addresses: Sequence[str]) -> Finding:
    if other.reaches_us:
        return _finding(
            "blocked-one-way",
            "problem",
            [other],
            f"one-way: {other.place} connects to us, and no TCP connection to {listed(addresses)} "
            "comes about",
            "a firewall there, or on the way, drops what comes in on that port",
            "let TCP to that port in there; port= keeps it the same",
        )
    if other.state in _ENDED:
        return _lost(other, addresses)
    return _finding(
        "blocked",
        "problem",
        [other],
        f"no packet comes back from {listed(addresses)}{_who(other)}",
        "a firewall drops TCP to that port, or the machine is off, or in another network",
        "let TCP to that port in there (port= keeps it the same); is the machine up: ping",
    )


def _lost(other: Other, addresses: Sequence[str]) -> Finding:
    """It was here, and its machine is not to be reached now."""
    return _finding(
        "lost",
        "problem" if other.is_wanted else "warning",
        [other],
        f"{other.title} was here, and no packet comes back from {listed(addresses)}",
        "its machine is off, asleep, or cut off",
        "if it should be here, look at that machine and its network",
    )


def _no_way(facts: Facts, other: Other, addresses: Sequence[str]) -> Finding:
    if other.state in _ENDED:
        return _lost(other, addresses)
    detail = next(tried.detail for tried in other.tried if tried.result == "unreachable")
    return _finding(
        "no-route",
        "problem",
        [other],
        f"no way to {listed(addresses)}{_who(other)}",
        f"{detail}: another network, or the machine is off",
        "a route there, or a node that both reach: --seed HOST:PORT",
    )


def _nobody(facts: Facts, other: Other, addresses: Sequence[str]) -> Finding:
    if other.state in _ENDED:
        return _finding(
            "ended",
            "note",
            [other],
            f"{other.title} has ended: nobody listens at {listed(addresses)}",
            f"others saw it as {other.state}",
        )
    return _finding(
        "not-listening",
        "problem" if other.is_wanted else "warning",
        [other],
        f"nobody listens at {listed(addresses)}{_who(other)}",
        "the node has ended without a goodbye, or has another port",
        "start it; 'meshctl peers' on its machine shows its address",
    )


def _who(other: Other) -> str:
    """What else is known of it than its address, in parentheses."""
    told = [other.title] if other.id else []
    if other.by and not other.is_wanted:
        told.append(f"told by {listed(other.by, 3)}")
    return f" ({', '.join(told)})" if told else ""


_Tell = Callable[[Facts, Other, Sequence[str]], Finding]

_BY_RESULT: tuple[tuple[tuple[str, ...], _Tell], ...] = (
    (("alive", "keyed"), _answers),
    (("silent",), _silent),
    (("timeout",), _timeout),
    (("alien", "closed"), _alien),
    (("unreachable",), _no_way),
    (("refused",), _nobody),
)
"""What is told for some results; the first that fits counts."""
