"""What the shell is offered for the word under the cursor, where that is known only here.

Names of peers, methods, services and groups come from the mesh itself: an observer looks around
for as long as a person does not mind. Whatever goes wrong, nothing is offered and nothing is
printed: a shell would write it into the line that is being typed.
"""

from __future__ import annotations

import contextlib
import io
import logging
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem

import mesh
from mesh.cli.peer_view import is_shown
from mesh.cli.profiles import profile_names
from patterns.queues.naming import queue_of_service

if TYPE_CHECKING:
    from mesh.cli.options import Options

__all__ = [
    "complete_groups",
    "complete_issued",
    "complete_methods",
    "complete_peers",
    "complete_profiles",
    "complete_queues",
    "complete_services",
    "complete_services_and_peers",
]

LOOK_AROUND = 0.4
"""Seconds for peers to be met; with start and goodbye it stays below one."""

Complete = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


def _quietly(offers: Callable[[], list[CompletionItem]], incomplete: str) -> list[CompletionItem]:
    """Those of the offers that go on from what was typed; none when they cannot be made."""
    before = logging.root.manager.disable
    logging.disable()
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            return [item for item in offers() if item.value.startswith(incomplete)]
    except (click.ClickException, mesh.MeshError, OSError):
        return []
    finally:
        logging.disable(before)


def _from_peers(offers: Callable[[list[mesh.Peer]], list[CompletionItem]]) -> Complete:
    def complete(
        context: click.Context, parameter: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        return _quietly(lambda: offers(_look_around(context.obj)), incomplete)

    return complete


def _look_around(options: Options) -> list[mesh.Peer]:
    with options.node() as node:
        node.wait_for(timeout=LOOK_AROUND)
        return sorted(node.peers(), key=lambda peer: (peer.name, peer.id))


def _peers(peers: list[mesh.Peer]) -> list[CompletionItem]:
    counts = Counter(peer.name for peer in peers)
    names = [CompletionItem(name) for name in counts]
    ids = [CompletionItem(peer.id[:8], help=peer.name) for peer in peers if counts[peer.name] > 1]
    return names + ids


def _methods(peers: list[mesh.Peer]) -> list[CompletionItem]:
    found = {
        f"{service}.{method}"
        for peer in peers
        for service, methods in peer.services.items()
        if is_shown(service, show_all=False)
        for method in methods
    }
    return [CompletionItem(name) for name in sorted(found)]


def _services(peers: list[mesh.Peer]) -> list[CompletionItem]:
    found = {name for peer in peers for name in peer.services if is_shown(name, show_all=False)}
    return [CompletionItem(name) for name in sorted(found)]


def _groups(peers: list[mesh.Peer]) -> list[CompletionItem]:
    return [CompletionItem(name) for name in sorted({g for peer in peers for g in peer.groups})]


def _services_and_peers(peers: list[mesh.Peer]) -> list[CompletionItem]:
    services = _services(peers)
    known = {item.value for item in services}
    return services + [item for item in _peers(peers) if item.value not in known]


def _queues(peers: list[mesh.Peer]) -> list[CompletionItem]:
    names = {queue_of_service(service) for peer in peers for service in peer.services}
    return [CompletionItem(name) for name in sorted(name for name in names if name)]


complete_queues = _from_peers(_queues)
complete_peers = _from_peers(_peers)
complete_methods = _from_peers(_methods)
complete_services = _from_peers(_services)
complete_groups = _from_peers(_groups)
complete_services_and_peers = _from_peers(_services_and_peers)


def complete_profiles(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """The profiles of the config file."""
    return _quietly(lambda: [CompletionItem(name) for name in profile_names()], incomplete)


def complete_issued(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """The names that this machine's authority has given."""

    def offers() -> list[CompletionItem]:
        from mesh.cli.places import authority_folder
        from mesh.security.authority import Authority

        authority = Authority.open(authority_folder(context.obj.resolved_mesh))
        return [CompletionItem(name) for name in sorted({one.name for one in authority.issued()})]

    return _quietly(offers, incomplete)
