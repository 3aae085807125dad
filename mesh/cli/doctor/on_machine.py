"""Rules about this machine: its interfaces, multicast, the port of mDNS, descriptors, sources."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from discovery.address import parse_address
from discovery.groups import MDNS_PORT
from discovery.multicast import Multicast
from mesh.cli.doctor.facts import Adapter, Facts
from mesh.cli.doctor.findings import Finding, listed
from mesh.cli.text import count_of

__all__ = ["FEW_DESCRIPTORS", "is_nearly_full", "on_machine"]

FEW_DESCRIPTORS = 1024
"""A limit below it is a small one: a node takes up to 8 descriptors for each peer."""

MOST_USED = 0.8
"""Part of the descriptor limit from which on it is nearly reached."""


def on_machine(facts: Facts) -> Iterator[Finding]:
    """All of them."""
    yield from _start(facts)
    yield from _interfaces(facts)
    yield from _mdns_port(facts)
    yield from _multicast(facts)
    yield from _wrong_interface(facts)
    yield from _sources(facts)
    yield from _descriptors(facts)


def _start(facts: Facts) -> Iterator[Finding]:
    own = facts.own
    if own.trouble:
        yield Finding(
            "cannot-start",
            "problem",
            "no node can start here",
            own.trouble,
            "give --host an address of this machine, or none",
        )
    elif own.is_loopback_only:
        yield Finding(
            "this-machine-only",
            "note",
            f"nodes of this machine alone can meet this one, at {listed(own.addresses)}",
            "there is no key, or --host says so",
            "--key-file FILE (or --insecure) to go on the network",
        )


def _interfaces(facts: Facts) -> Iterator[Finding]:
    machine = facts.machine
    for name in machine.missing:
        yield Finding(
            "interface-missing",
            "problem",
            f"no interface is, or has, {name}, and it was asked for",
            do="'ip address' lists what there is; --interface and MESH_INTERFACES choose",
        )
    used = [adapter for adapter in machine.adapters if not adapter.why_not]
    left_out = [adapter for adapter in machine.adapters if adapter.why_not]
    if used:
        shown = (f"{one.name} ({', '.join(_global(one))})" for one in used)
        yield Finding("interfaces", "ok", f"in use: {listed(shown)}")
    elif not facts.own.is_loopback_only:
        yield Finding(
            "no-network",
            "problem",
            "no network interface is in use: only nodes of this machine can be met",
            "; ".join(f"{one.name}: {one.why_not}" for one in left_out)
            or "there is none but loopback",
            "plug in, or ask for one with --interface",
        )
        return
    if facts.own.is_loopback_only:
        return
    by_reason: dict[str, list[str]] = {}
    for one in left_out:
        by_reason.setdefault(one.why_not, []).append(one.name)
    for reason, names in by_reason.items():
        yield Finding(
            "interface-left-out",
            "note",
            f"{listed(names)} not used",
            reason,
            "" if "ask for it" in reason else "--interface chooses",
        )


def _global(adapter: Adapter) -> list[str]:
    """Its addresses without the link-local ones of IPv6, unless there are no others."""
    addresses = list(adapter.addresses)
    return [a for a in addresses if not ipaddress.ip_interface(a).is_link_local] or addresses


def _mdns_port(facts: Facts) -> Iterator[Finding]:
    machine = facts.machine
    if machine.mdns_trouble:
        holder = f": {machine.mdns_holder} has it" if machine.mdns_holder else ""
        yield Finding(
            "mdns-port-taken",
            "problem",
            f"UDP port {MDNS_PORT} (mDNS) cannot be shared here{holder}",
            machine.mdns_trouble,
            "let that program share it (SO_REUSEPORT) or end it; seeds work without: --seed",
        )


def _multicast(facts: Facts) -> Iterator[Finding]:
    machine = facts.machine
    if machine.mdns_trouble:
        return
    works = []
    for adapter in machine.adapters:
        name = adapter.name
        reports = [one for one in machine.multicast if one.interface == name]
        if adapter.why_not or not reports:
            continue
        heard = {host for report in reports for host in report.heard}
        heard |= {
            parse_address(address)[0]
            for address in facts.own.heard_by_mdns
            if _is_beside(adapter, address)
        }
        if heard:
            works.append(f"{name} (heard: {listed(sorted(heard))})")
            yield from _half(name, reports)
        else:
            yield _what_is_wrong(facts, name, reports)
    if works:
        yield Finding("multicast", "ok", f"multicast goes out and comes in on {listed(works)}")


def _half(name: str, reports: list[Multicast]) -> Iterator[Finding]:
    """It works by one version of IP, and not by the other."""
    for report in reports:
        if report.error or not report.own_copy:
            yield Finding(
                "multicast-half",
                "note",
                f"on {name} multicast of IPv{report.version} does not work, that of the other does",
                report.error or "what is sent does not come back to this machine",
            )


def _what_is_wrong(facts: Facts, name: str, reports: list[Multicast]) -> Finding:
    """Nothing of any other host has arrived there."""
    working = [report for report in reports if not report.error]
    if not working:
        return Finding(
            "multicast-fails",
            "warning",
            f"multicast cannot be used on {name}",
            reports[0].error,
            "--interface chooses another; seeds work without: --seed HOST:PORT",
        )
    if not any(report.own_copy for report in working):
        return Finding(
            "multicast-blocked-here",
            "warning",
            f"what is sent by multicast on {name} does not come back to this machine itself",
            f"a firewall here drops UDP port {MDNS_PORT}",
            f"let UDP port {MDNS_PORT} in and out; seeds work without: --seed HOST:PORT",
        )
    answered = {host for report in working for host in report.answered}
    if answered:
        hosts = listed(sorted(answered))
        return Finding(
            "multicast-not-heard",
            "warning",
            f"multicast on {name} gets to {hosts}, and theirs does not come here",
            "the network (Wi-Fi, switch) or a firewall here filters what comes in",
            f"let multicast to UDP port {MDNS_PORT} in; seeds work without: --seed HOST:PORT",
        )
    return _silence(facts, name)


def _silence(facts: Facts, name: str) -> Finding:
    """Nobody was heard: is anybody there?"""
    neighbours = _neighbours(facts, name)
    if not neighbours:
        return Finding(
            "multicast-silent",
            "note",
            f"on {name} no other host was heard, and whether any could be is unknown",
            "nobody else uses mDNS there, or the network filters multicast (Wi-Fi, clouds)",
            "'meshctl doctor HOST:PORT' of a node that should be there tells",
        )
    is_grave = any(is_asked_for for _, is_asked_for in neighbours)
    return Finding(
        "multicast-filtered",
        "problem" if is_grave else "warning",
        f"multicast is filtered on {name}",
        f"{listed(title for title, _ in neighbours)} can be reached there, and is not heard",
        "let the network carry multicast (Wi-Fi: no client isolation; switch: no IGMP snooping "
        "without a querier), or name one node: --seed HOST:PORT",
    )


def _neighbours(facts: Facts, name: str) -> list[tuple[str, bool]]:
    """Nodes of other hosts in the networks of an interface that can be reached and would announce
    themselves: title, and whether nothing but the user's word led there."""
    adapter = next(one for one in facts.machine.adapters if one.name == name)
    found = []
    for member in facts.members:
        announces = member.view is None or member.view.uses_mdns
        if announces and _is_beside(adapter, member.address):
            found.append((member.title, _is_focus(facts, member.address)))
    for other in facts.others:
        for tried in other.tried:
            if tried.result in ("alive", "keyed") and _is_beside(adapter, tried.address):
                found.append((other.place, other.is_wanted))
                break
    return found


def _is_focus(facts: Facts, address: str) -> bool:
    focus = facts.focus
    return focus is not None and focus.is_at(address)


def _is_beside(adapter: Adapter, address: str) -> bool:
    """Whether the address is in a network of the interface, and not this machine's."""
    try:
        ip = ipaddress.ip_address(parse_address(address)[0])
    except ValueError:
        return False
    networks = [ipaddress.ip_interface(one) for one in adapter.addresses]
    return any(ip.version == n.version and ip in n.network and ip != n.ip for n in networks)


def _wrong_interface(facts: Facts) -> Iterator[Finding]:
    machine, own = facts.machine, facts.own
    linked = {member.id for member in facts.members} | {own.id}
    on_used = {
        node.id
        for report in machine.multicast
        for node in report.nodes
        for adapter in machine.adapters
        if adapter.name == report.interface and not adapter.why_not
    }
    for adapter in machine.adapters:
        if not adapter.why_not:
            continue
        heard = {
            node.id: node
            for report in machine.multicast
            if report.interface == adapter.name
            for node in report.nodes
            if node.id not in linked | on_used and node.mesh == own.mesh
        }
        if heard:
            nodes = [f"node {str(id)[:8]} at {one.addresses[0]}" for id, one in heard.items()]
            yield Finding(
                "wrong-interface",
                "problem",
                f"{count_of(len(heard), 'node')} of mesh {own.mesh!r} heard on {adapter.name}, "
                f"which is not used: {listed(nodes)}",
                adapter.why_not,
                f"--interface {adapter.name} (MESH_INTERFACES, interfaces=)",
                tuple(str(id) for id in heard),
                tuple(address for one in heard.values() for address in one.addresses),
            )


def _sources(facts: Facts) -> Iterator[Finding]:
    for source in facts.own.sources:
        if source.status != "failing":
            continue
        if source.name == "mdns" and (facts.machine.mdns_trouble or not _has_network(facts)):
            continue  # that was told, and better
        yield Finding(
            "source-fails",
            "warning",
            f"nodes cannot be searched by {source.name}",
            source.reason,
            "'meshctl discovery' shows all sources",
        )


def _has_network(facts: Facts) -> bool:
    return any(not adapter.why_not for adapter in facts.machine.adapters)


def _descriptors(facts: Facts) -> Iterator[Finding]:
    limit, used = facts.machine.descriptor_limit, facts.machine.descriptors
    if limit is not None and limit < FEW_DESCRIPTORS:
        yield Finding(
            "few-descriptors",
            "warning",
            f"a process may open {limit} descriptors here"
            + (f", and {used} are open" if used is not None else ""),
            "a node takes 3 to 8 for each peer, and takes no more links before they run out",
            "raise the limit: ulimit -n, LimitNOFILE=",
        )


def is_nearly_full(used: int | None, limit: int | None) -> bool:
    """Whether a process has opened most of what it may."""
    return used is not None and limit is not None and used >= limit * MOST_USED
