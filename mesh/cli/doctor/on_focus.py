"""Rules about the one node that the user asks for: what is known of it, in one finding at least."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from mesh.cli.doctor.facts import Facts, Focus, Member, Other
from mesh.cli.doctor.findings import Finding, listed

__all__ = ["MIN_DIGITS", "narrowed", "on_focus"]

MIN_DIGITS = 4
"""Of an id; fewer are more likely a name."""

ALWAYS = ("problem", "warning")
"""Of what is about this machine or the whole mesh, this may be why the one is not seen."""


def on_focus(facts: Facts) -> Iterator[Finding]:
    """Is it here, was it heard of, or is it unknown?"""
    focus = facts.focus
    if focus is None:
        return
    members = [member for member in facts.members if _is_meant(focus, member)]
    for member in members:
        if member.state == "alive":
            yield Finding(
                "seen",
                "ok",
                f"{member.title} is linked with us, both ways, at {member.address}",
                nodes=(member.id,),
                addresses=(member.address,),
            )
    if not members and not any(_is_meant(focus, other) for other in facts.others):
        yield _unknown(facts, focus)


def _unknown(facts: Facts, focus: Focus) -> Finding:
    nameless = [other for other in facts.others if not other.name and other.id]
    if nameless and not focus.is_address:
        why = (
            "announcements have no names; it may be one of "
            f"{listed(other.place for other in nameless)}"
        )
    else:
        by = listed(source.name for source in facts.own.sources)
        why = f"no source ({by}) and no member has told of it" if by else "nothing told of it"
    return Finding(
        "unknown",
        "problem",
        f"nothing is known of {focus.text}",
        why,
        "is it running, in the same mesh? 'meshctl doctor HOST:PORT' with its address tells more",
    )


def narrowed(facts: Facts, found: Iterable[Finding]) -> list[Finding]:
    """Those about the one that is asked for, and what else may be why."""
    focus = facts.focus
    if focus is None:
        return list(found)
    everybody: list[Member | Other] = [*facts.members, *facts.others]
    meant = [one for one in everybody if _is_meant(focus, one)]
    ids = {one.id for one in meant if one.id}
    addresses = {address for one in meant for address in _addresses(one)}
    kept = []
    for finding in found:
        is_about = bool(ids & set(finding.nodes) or addresses & set(finding.addresses))
        is_about_none = not finding.nodes and not finding.addresses
        if is_about or (is_about_none and finding.gravity in ALWAYS) or finding.code == "unchecked":
            kept.append(finding)
    return kept


def _is_meant(focus: Focus, one: Member | Other) -> bool:
    if focus.is_address:
        return any(map(focus.is_at, _addresses(one)))
    text = focus.text
    names = {one.name, one.title}
    if isinstance(one, Member):
        names.add(one.instance)
    return text in names or (len(text) >= MIN_DIGITS and one.id.startswith(text.lower()))


def _addresses(one: Member | Other) -> Sequence[str]:
    return (one.address,) if isinstance(one, Member) else one.addresses
