"""What a node runs on: time, randomness, sockets, threads, keys and ways to be found.

A node that starts takes the environment of its context. In a program that is the machine
(``Environment``); in a simulation ``mesh.testing`` has put another one there, and nothing else of
a node differs.
"""

from __future__ import annotations

import asyncio
import functools
import resource
from collections.abc import Sequence
from contextvars import ContextVar
from datetime import UTC, datetime
from random import Random
from typing import TYPE_CHECKING, Protocol

from mesh.engine.ports import Clock, Transport
from mesh.finding import Finding
from mesh.logs import get_logger
from mesh.runtime import LoopClock, LoopRunner
from mesh.runtime.chance import Chance
from mesh.runtime.threads import call_in_thread
from mesh.security import Credentials, Identity, MeshKey, NodeKey
from mesh.settings import Settings
from mesh.transport import ZmqTransport
from mesh.wire import frames

if TYPE_CHECKING:
    from mesh.host import Host

__all__ = ["Environment", "HostTransport", "current_environment", "enter_environment"]

logger = get_logger("mesh.node")


class HostTransport(Transport, Protocol):
    """An engine's transport, and its end."""

    @property
    def refused(self) -> int:
        """Connections that were not let in, for want of the right key."""

    async def wait_closed(self) -> None:
        """After ``close``: until everything is given back."""

    def abandon(self) -> None:
        """When there is no time for ``wait_closed``."""

    def spread_news(self) -> None:
        """Tell the peers what is new of keys and certificates."""


def make_credentials(settings: Settings) -> Credentials:
    """Takes 0.1 s for each passphrase. Raises ConfigError."""
    given = settings.keys
    keys = [MeshKey(text, given.mesh) for text in given.texts]
    node = NodeKey(given.secret)
    if (file := given.identity) is None:
        return Credentials(settings.id, given.mesh, keys, node, until=given.until)
    return Credentials(
        settings.id,
        given.mesh,
        keys,
        node,
        authority=file.authority,
        certificate=file.certificate,
        revocations=file.revocations,
    )


class Environment:
    """This machine. All methods are called on the node's loop."""

    is_simulated = False

    def settings(self, settings: Settings) -> Settings:
        """Those that a node is started with."""
        return settings

    async def credentials(self, settings: Settings) -> Credentials | None:
        """The node's keys, None without a mesh key. Raises ConfigError."""
        if not settings.keys:
            return None
        # The stretching of a passphrase takes 0.1 s, during which the loop must go on.
        make = functools.partial(make_credentials, settings)
        credentials: Credentials = await call_in_thread(asyncio.get_running_loop(), make)
        return credentials

    def identity(self, settings: Settings) -> Identity | None:
        """Who the node proves to be to others."""
        own = settings.keys.identity
        return own.identity if own is not None else None

    def prepare(self, settings: Settings) -> None:
        """Before anything is opened."""
        if not settings.keys and not settings.is_loopback_only:
            _warn_insecure()
        _raise_descriptor_limit()

    def finding(self, settings: Settings, credentials: Credentials | None) -> Finding:
        """Raises ConfigError when two sources have the same name."""
        return Finding(settings, credentials)

    def transport(
        self, settings: Settings, hosts: Sequence[str], credentials: Credentials | None
    ) -> HostTransport:
        loop = asyncio.get_running_loop()
        return ZmqTransport(
            loop,
            host=settings.host,
            port=settings.port,
            hosts=hosts,
            credentials=credentials,
            max_work_bytes=settings.max_payload_bytes + frames.LINK_HEADER_SIZE,
        )

    def clock(self) -> Clock:
        return LoopClock(asyncio.get_running_loop())

    def runner(self) -> LoopRunner:
        return LoopRunner(asyncio.get_running_loop())

    def random(self, settings: Settings) -> Random:
        return Chance()

    def wall_clock(self) -> datetime:
        return datetime.now(UTC)

    def hosts(self, host: Host) -> None:
        """A node runs here now."""


_current: ContextVar[Environment] = ContextVar("mesh_environment")
_machine = Environment()


def current_environment() -> Environment:
    """What a node that starts here runs on."""
    return _current.get(_machine)


def enter_environment(environment: Environment) -> None:
    """Nodes that start in this context from now on run on that."""
    _current.set(environment)


@functools.cache
def _warn_insecure() -> None:
    logger.warning(
        "no mesh key: anybody on this network can join, read and call; give key='some words'"
    )


def _raise_descriptor_limit() -> None:
    """A node needs 3 to 9 descriptors a peer; the soft limit of 1024 ends that at 300 peers.

    A soft limit is there for programs that use ``select()``, which breaks above 1023; whoever needs
    more raises it for itself, up to the hard one, as servers do. It holds for the whole process and
    the children that it starts, so it is told. A program that wants to keep its limit lowers the
    hard one, too: the node then looks ahead (``mesh.transport.descriptors``).
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == hard:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (ValueError, OSError) as error:
        logger.info("the descriptor limit stays at %d: %s", soft, error)
    else:
        logger.info("the descriptor limit of this process was %d and is %d now", soft, hard)
