"""Rules about the members of the mesh: do all see all, and does anything set one apart?

What members say of each other is compared in pairs. Observers see all and need not see each other.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from mesh.cli.doctor.facts import Facts, Member, View
from mesh.cli.doctor.findings import Finding, listed
from mesh.cli.doctor.on_machine import is_nearly_full
from mesh.cli.doctor.on_strangers import has_own_mesh
from mesh.cli.text import count_of

__all__ = ["CLOCKS_APART", "CLOCKS_TOO_FAR", "are_apart", "on_members"]

CLOCKS_APART = 2.0
"""Seconds between two clocks that are worth a word: logs do not fit together any more."""

CLOCKS_TOO_FAR = 300.0
"""Seconds from which on certificates count as not valid yet (mesh.security.certificates)."""


def on_members(facts: Facts) -> Iterator[Finding]:
    """All of them."""
    members = facts.members
    yield from _doubted(members)
    yield from _pairs(members)
    yield from _instances(members)
    yield from _versions(facts)
    yield from _clocks(members)
    yield from _health(members)
    yield from _descriptors(members)
    yield from _unseen(members)
    yield from _all(facts)


def _doubted(members: Iterable[Member]) -> Iterator[Finding]:
    for member in members:
        if member.state == "unresponsive":
            yield Finding(
                "unresponsive",
                "problem",
                f"{member.title} at {member.address} is linked, and its Python does not answer",
                "a handler that does not return, or a machine that is far too busy",
                "a stack (py-spy dump) shows where it stands; inline handlers must not block",
                nodes=(member.id,),
                addresses=(member.address,),
            )
        elif member.state == "suspect":
            yield Finding(
                "suspect",
                "problem",
                f"nothing has come from {member.title} at {member.address} for 3 s or more",
                "its machine or process is stopped, or the network to it was cut",
                "it is failed soon, or back: 'meshctl watch'; look at that process",
                nodes=(member.id,),
                addresses=(member.address,),
            )


def _pairs(members: Iterable[Member]) -> Iterator[Finding]:
    """Does each list each other as linked both ways?"""
    asked = [member for member in members if member.view is not None and not member.is_observer]
    for number, one in enumerate(asked):
        for other in asked[number + 1 :]:
            there, back = _sight(one, other), _sight(other, one)
            if there == back == "":
                continue
            if there and back:
                yield _apart(one, other, f"{there}; {back}")
            elif there:
                yield _one_way(one, other, there)
            else:
                yield _one_way(other, one, back)


def are_apart(members: Iterable[Member]) -> bool:
    """Whether any two do not list each other."""
    return any(True for _ in _pairs(members))


def _sight(one: Member, other: Member) -> str:
    """What is wrong with how one member sees another; "" if it is linked with it."""
    assert one.view is not None  # noqa: S101  _pairs has looked
    seen = one.view.peers.get(other.id)
    if seen is None:
        return f"{one.title} has not heard of {other.title}"
    if seen.state in ("alive", "unresponsive") and seen.is_linked:
        return ""
    doubt = "" if seen.is_linked else ", not linked both ways"
    return f"{one.title} sees {other.title} as {seen.state}{doubt}"


def _one_way(blind: Member, other: Member, why: str) -> Finding:
    return Finding(
        "one-way",
        "problem",
        f"{other.title} lists {blind.title} as linked, and not the other way round",
        why,
        f"on the machine of {blind.name}: 'meshctl doctor {other.address}'",
        (blind.id, other.id),
        (blind.address, other.address),
    )


def _apart(one: Member, other: Member, why: str) -> Finding:
    return Finding(
        "apart",
        "problem",
        f"{one.title} and {other.title} do not see each other, and we see both",
        why,
        f"on the machine of {one.name}: 'meshctl doctor {other.address}'",
        (one.id, other.id),
        (one.address, other.address),
    )


def _instances(members: Iterable[Member]) -> Iterator[Finding]:
    by_instance: dict[str, list[Member]] = {}
    for member in members:
        if member.instance and not member.is_observer and member.state == "alive":
            by_instance.setdefault(member.instance, []).append(member)
    for instance, same in by_instance.items():
        if len(same) > 1:
            yield Finding(
                "same-instance",
                "problem",
                f"{count_of(len(same), 'node')} have the instance {instance!r}: "
                f"{listed(one.title for one in same)}",
                "a key's owner is found by the instance, so these take each other's keys",
                "give each an instance= of its own",
                tuple(one.id for one in same),
                tuple(one.address for one in same),
            )


def _views(members: Iterable[Member]) -> list[tuple[Member, View]]:
    return [(member, member.view) for member in members if member.view is not None]


def _versions(facts: Facts) -> Iterator[Finding]:
    by_version: dict[str, list[Member]] = {}
    for member, view in _views(facts.members):
        by_version.setdefault(view.version, []).append(member)
    if len(by_version) > 1:
        counts = sorted(by_version.items(), key=lambda item: len(item[1]), reverse=True)
        told = (f"{version}: {listed(m.title for m in some)}" for version, some in counts)
        yield Finding(
            "versions-differ",
            "warning",
            "nodes run different versions of mesh",
            "; ".join(told),
            "right while they are renewed one by one; else renew those left behind",
            tuple(one.id for _, some in counts[1:] for one in some),
        )


def _clocks(members: Iterable[Member]) -> Iterator[Finding]:
    for member, view in _views(members):
        if view.clock is None or abs(view.clock) < CLOCKS_APART + view.doubt:
            continue
        is_far = abs(view.clock) >= CLOCKS_TOO_FAR
        way = "ahead of" if view.clock > 0 else "behind"
        yield Finding(
            "clocks-differ",
            "problem" if is_far else "warning",
            f"the clock of {member.title} is {abs(view.clock):.0f} s {way} that of this machine",
            "certificates are not valid yet, or not any more, from 300 s on"
            if is_far
            else "times in logs and events do not fit together",
            "run NTP (chrony, systemd-timesyncd) on both",
            nodes=(member.id,),
            addresses=(member.address,),
        )


def _health(members: Iterable[Member]) -> Iterator[Finding]:
    for member, view in _views(members):
        if view.status != "ready":
            code = "isolated" if view.status == "isolated" else "degraded"
            yield Finding(
                code,
                "warning",
                f"{member.title} at {member.address} says that it is {view.status}",
                "; ".join(view.reasons),
                nodes=(member.id,),
                addresses=(member.address,),
            )


def _descriptors(members: Iterable[Member]) -> Iterator[Finding]:
    for member, view in _views(members):
        if is_nearly_full(view.descriptors, view.descriptor_limit):
            yield Finding(
                "descriptors-used-up",
                "warning",
                f"{member.title} uses {view.descriptors} of {view.descriptor_limit} descriptors",
                "it takes no more links before they run out",
                "raise its limit: ulimit -n, LimitNOFILE=",
                nodes=(member.id,),
                addresses=(member.address,),
            )


_WHY_UNSEEN = {
    "denied": "their allow= or policy does not let us inspect them",
    "old": "they are of a version that does not tell",
    "silent": "they did not answer in time",
}


def _unseen(members: Iterable[Member]) -> Iterator[Finding]:
    by_reason: dict[str, list[Member]] = {}
    for member in members:
        if member.view is None and not member.is_observer and member.state == "alive":
            by_reason.setdefault(member.why_no_view, []).append(member)
    for member in by_reason.pop("calls", ()):
        yield Finding(
            "calls-blocked",
            "problem",
            f"{member.title} at {member.address} is linked, and calls to it do not come through",
            "it answers pings over the link; calls have a port of their own, and that is shut",
            "let all TCP ports of that program in, not the link's alone",
            nodes=(member.id,),
            addresses=(member.address,),
        )
    for reason, some in by_reason.items():
        yield Finding(
            "not-inspected",
            "warning" if reason == "silent" else "note",
            f"{count_of(len(some), 'node')} could not be asked whom they see: "
            f"{listed(member.title for member in some)}",
            _WHY_UNSEEN.get(reason, reason),
            "'inspect' in allow= (MESH_ALLOW) lets us" if reason == "denied" else "",
            tuple(member.id for member in some),
        )


def _all(facts: Facts) -> Iterator[Finding]:
    """What the mesh is as a whole."""
    nodes = [member for member in facts.members if not member.is_observer]
    if not nodes:
        if not facts.own.trouble:
            yield _alone(facts)
        return
    alive = [member for member in nodes if member.state == "alive"]
    asked = [member for member in alive if member.view is not None]
    what = f"mesh {facts.own.mesh!r}: {count_of(len(alive), 'node')} linked with us"
    if len(asked) == len(alive) and not are_apart(nodes) and len(alive) > 1:
        what += ", and each with each"
    if alive:
        versions = {view.version for _, view in _views(alive)}
        same = f", version {versions.pop()}" if len(versions) == 1 else ""
        yield Finding("linked", "ok", what + same, nodes=tuple(member.id for member in alive))


def _alone(facts: Facts) -> Finding:
    why, do = (
        "none was heard of",
        "start one ('meshctl demo' shows how), or name one: --seed HOST:PORT",
    )
    if has_own_mesh(facts):
        why, do = "what was heard of is told above", ""
    elif facts.others:
        why, do = "only nodes of other meshes were heard of", ""
    elif facts.own.sources:
        why += " by " + listed(source.name for source in facts.own.sources)
    what = f"no other node of mesh {facts.own.mesh!r} is linked with us"
    return Finding("alone", "problem", what, why, do)
