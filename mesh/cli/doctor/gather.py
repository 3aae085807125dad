"""Gathers the facts: joins the mesh as an observer, and looks, within a time that is given.

Everything has a deadline, the last one is the whole's. What does not come in time is told as not
looked at. The order matters: our node goes first, so that its own question is the one that others
answer; what is not linked after a moment is tried by TCP meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import mesh
from discovery import Candidate
from mesh.cli.doctor.asking import ask_all, most_asked
from mesh.cli.doctor.facts import Facts, Focus, Machine, Member, Other, Own, Source, Tried
from mesh.cli.doctor.findings import listed
from mesh.cli.doctor.machine import Look
from mesh.cli.doctor.on_members import are_apart
from mesh.cli.doctor.others import Others
from mesh.cli.doctor.reach import MAX_TRIED, try_all
from mesh.cli.options import OWN_NAME, Options, variable
from mesh.cli.text import count_of
from mesh.wire import frames

__all__ = ["gather"]

LISTEN = 1.2
"""Seconds for what comes by multicast: answers take 0.02 to 0.12 s, and may be asked for twice."""

SETTLE = 1.0
"""Seconds for those who were heard of to be linked or refused."""

ANSWER = 6.0
"""Seconds for a dial: two rounds of it (mesh.engine.dialer.ANSWER_TIMEOUT), for who is busy."""

ASK_AGAIN = 0.7
"""Seconds until members that do not agree are asked again: they may just have met."""

POLL = 0.05

Tell = Callable[[str], None]


async def gather(options: Options, focus: Focus | None, tell: Tell) -> Facts:
    """Raises ConfigError and BadName for settings that make no sense."""
    loop = asyncio.get_running_loop()
    gathering = _Gathering(options, focus, tell, loop.time() + options.timeout)
    try:
        return await gathering.run()
    finally:
        await gathering.close()


class _Gathering:
    """One run."""

    def __init__(self, options: Options, focus: Focus | None, tell: Tell, deadline: float) -> None:
        self._focus = focus
        self._tell = tell
        self._deadline = deadline
        self._loop = asyncio.get_running_loop()
        self._settings = options.settings()
        self._wanted = options.resolved_interfaces
        self._mesh = options.resolved_mesh
        self._node = mesh.AsyncNode(OWN_NAME, observer=True, **self._with_focus(self._settings))
        self._trouble = ""
        self._candidates: dict[str, Candidate] = {}
        self._unchecked: list[str] = []
        self._listening: asyncio.Task[Machine] | None = None

    def _with_focus(self, settings: dict[str, Any]) -> dict[str, Any]:
        """An address that is asked for is a seed."""
        focus = self._focus
        if focus is None or not focus.port:
            return settings
        listed = (variable("MESH_SEEDS") or "").replace(",", " ").split()
        return settings | {"seeds": [*(settings["seeds"] or listed), focus.address]}

    async def close(self) -> None:
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.wait({self._listening})
        await self._node.close()

    @property
    def _left(self) -> float:
        return max(0.0, self._deadline - self._loop.time())

    async def run(self) -> Facts:
        self._tell("starting")
        try:
            await self._node.start()
        except OSError as error:
            self._trouble = f"{error.strerror or error}"
        machine = self._begin_listening()
        if self._trouble:
            return await self._without_node(await self._heard(machine))
        self._tell("looking for nodes")
        await self._settled()
        machine = await self._heard(machine)
        self._hint(machine)
        members, tries = await asyncio.gather(self._ask_members([]), self._try([], {}))
        tries = await self._try(members, tries)
        await self._until_known(members, tries)
        members = await self._ask_members(members)
        others = self._others(members)
        return Facts(
            machine=machine,
            own=self._own(),
            members=tuple(members),
            others=tuple(others.with_tries(tries)),
            focus=self._resolved(),
            unchecked=tuple(self._unchecked),
        )

    # This machine.

    def _begin_listening(self) -> Machine:
        only_loopback = not self._trouble and self._node.host.finding.is_loopback_only
        try:
            look = Look(self._wanted, is_loopback_only=only_loopback)
        except (OSError, ValueError) as error:
            self._unchecked.append(f"the network interfaces ({error})")
            return Machine()
        machine = look.machine()
        seconds = min(LISTEN, self._left / 2)
        self._listening = self._loop.create_task(look.multicast(machine, seconds))
        if seconds < LISTEN:
            self._unchecked.append(
                f"multicast for longer than {seconds:.1f} s (a longer --timeout does)"
            )
        return machine

    async def _heard(self, machine: Machine) -> Machine:
        return machine if self._listening is None else await self._listening

    def _addresses(self) -> list[str]:
        address = self._node.me.address
        port = address.rpartition(":")[2]
        return [f"[{h}]:{port}" if ":" in h else f"{h}:{port}" for h in self._hosts()] or [address]

    def _hosts(self) -> Iterable[str]:
        return self._node.host.finding.hosts()

    def _hint(self, machine: Machine) -> None:
        """Have our node dial whom the question on each interface has found, and its own has not."""
        used = {adapter.name for adapter in machine.adapters if not adapter.why_not}
        for report in machine.multicast:
            if report.interface in used:
                self._candidates |= {node.key: node for node in report.nodes}
        for candidate in self._candidates.values():
            self._node.host.finding.hint(candidate)

    # The mesh.

    def _others(self, members: Sequence[Member]) -> Others:
        return Others(self._node, members, self._candidates.values(), self._focus)

    async def _settled(self) -> None:
        with contextlib.suppress(mesh.Timeout):
            await self._node.wait_for(timeout=min(SETTLE, self._left))

    async def _ask_members(self, known: Iterable[Member]) -> list[Member]:
        """All members; those that have told already are not asked anew, unless they disagree."""
        told = {member.id: member for member in known if member.view is not None}
        peers = [
            peer
            for peer in self._node.peers(all=True)
            if peer.state in ("alive", "unresponsive", "suspect")
        ]
        peers.sort(key=lambda peer: (peer.is_observer, peer.name, peer.id))
        asked = [peer for peer in peers if not peer.is_observer]
        if (more := len(asked) - most_asked(len(peers))) > 0 and not told:
            self._unchecked.append(f"whom {more} of {count_of(len(asked), 'node')} see")
        self._tell(f"asking {count_of(len(asked), 'node')}")
        members = await ask_all(self._node, peers, told, self._deadline)
        if are_apart(members) and self._left > 2 * ASK_AGAIN:
            await asyncio.sleep(ASK_AGAIN)
            members = await ask_all(self._node, peers, {}, self._deadline)
        return members

    async def _try(self, members: Sequence[Member], tried: Mapping[str, Tried]) -> dict[str, Tried]:
        """What those addresses meet that are not tried yet, with what the others have met."""
        addresses = self._others(members).worth_trying()
        new = [address for address in addresses if address not in tried]
        if len(new) > MAX_TRIED:
            self._unchecked.append(f"{len(new) - MAX_TRIED} addresses were not tried")
        if new:
            self._tell(f"trying {listed(new)}")
        return {**tried, **await try_all(new, self._deadline)}

    async def _until_known(self, members: Sequence[Member], tries: Mapping[str, Tried]) -> None:
        """Until our node knows what became of those that answer by TCP, or that takes too long;
        and a while for those that do not: they may hear of us, and come."""
        now = self._loop.time()
        until, come_until = min(self._deadline, now + ANSWER), now + self._left / 2
        while self._loop.time() < until:
            others = self._others(members)
            may_come = self._loop.time() < come_until and others.may_come(tries)
            if not may_come and not others.are_pending(tries):
                return
            await asyncio.sleep(POLL)  # several things change it, and none of them tells

    async def _without_node(self, machine: Machine) -> Facts:
        """What can be found out when no node can be started."""
        found: list[Other] = []
        focus = self._focus
        if focus is not None and focus.port:
            tries = await try_all([focus.address], self._deadline)
            found.append(
                Other(addresses=(focus.address,), is_wanted=True, tried=tuple(tries.values()))
            )
        self._unchecked.append("the mesh: that takes a node")
        return Facts(
            machine, self._own(), others=tuple(found), focus=focus, unchecked=tuple(self._unchecked)
        )

    def _own(self) -> Own:
        own = Own(mesh=self._mesh, protocol=frames.PROTOCOL_VERSION, trouble=self._trouble)
        if self._trouble:
            return own
        addresses = tuple(self._addresses())
        return replace(
            own,
            id=self._node.id,
            mesh=self._node.mesh,
            fingerprint=self._node.host.finding.fingerprint,
            heard_by_mdns=self._heard_by_mdns(),
            addresses=addresses,
            is_loopback_only=self._node.host.finding.is_loopback_only,
            sources=tuple(
                Source(name, report.status, report.reason)
                for name, report in self._node.discovery().items()
            ),
        )

    def _heard_by_mdns(self) -> tuple[str, ...]:
        report = self._node.discovery().get("mdns")
        found = report.found if report is not None else ()
        return tuple(address for one in found for address in one.addresses)

    def _resolved(self) -> Focus | None:
        """With the addresses that DNS has for it."""
        focus = self._focus
        if focus is None or not focus.port or focus.is_literal:
            return focus
        report = self._node.discovery().get("dns")
        found = report.found if report is not None else ()
        return replace(focus, resolved=tuple(a for one in found for a in one.addresses))
