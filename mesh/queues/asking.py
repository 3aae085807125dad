"""Asking the homes of a queue, all of them or one, and telling their errors as what they are."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeVar

from mesh.membership import Peer
from patterns.errors import (
    AccessDenied,
    BadPayload,
    BadRequest,
    MeshError,
    NoProvider,
    PeerLost,
    RemoteError,
)
from patterns.queues.errors import (
    JobFailed,
    JobGone,
    LeaseLost,
    QueueClosed,
    QueueFull,
    StoreFailed,
)
from patterns.queues.naming import service_of

if TYPE_CHECKING:
    from mesh.aio import AsyncNode

__all__ = ["ask_all", "ask_one", "error_of", "nobody", "understood"]

T = TypeVar("T")

_TYPES: dict[str, type[MeshError]] = {
    kind.__name__: kind
    for kind in (
        BadRequest,
        JobFailed,
        JobGone,
        LeaseLost,
        PeerLost,
        QueueClosed,
        QueueFull,
        StoreFailed,
    )
}


def as_told(error: RemoteError) -> MeshError:
    """What a home has raised, as if it had been raised here."""
    return error_of(error.type, error.message) if error.type in _TYPES else error


def error_of(kind: str, text: str) -> MeshError:
    """An error of a home, by its type and text."""
    if kind == AccessDenied.__name__:
        return AccessDenied(text, "")  # the text names the rule
    return _TYPES.get(kind, MeshError)(text)


def understood(queue: str, read: Callable[[], T]) -> T:
    """What is read of what homes told. Raises BadPayload for what none would tell."""
    try:
        return read()
    except (ValueError, TypeError, LookupError, AttributeError, OverflowError, OSError) as error:
        raise BadPayload(
            f"a home of the queue {queue!r} told what cannot be understood: it is of another "
            f"version, or no home ({type(error).__name__}: {error!s:.200})"
        ) from None


def nobody(queue: str, where: str = "") -> NoProvider:
    """The error for a queue without a home."""
    return NoProvider(
        f"nobody{where} keeps the queue {queue!r}: start one with 'meshctl queue serve {queue}'"
    )


async def ask_one(
    node: AsyncNode, queue: str, method: str, *args: Any, peer: Peer | str, timeout: float
) -> Any:
    """One home. Raises what it raises, and as a call does."""
    try:
        service = node.service(service_of(queue), timeout=timeout, peer=peer)
        return await service[method](*args)
    except RemoteError as error:
        raise as_told(error) from None


async def ask_all(
    node: AsyncNode,
    queue: str,
    method: str,
    *args: Any,
    timeout: float,
    homes: Iterable[Peer | str] | None = None,
) -> list[tuple[Peer, Any]]:
    """All homes, or these. Raises NoProvider when there are none, Incomplete when some do not
    answer, and what one of them has raised."""
    name = f"{service_of(queue)}.{method}"
    try:
        survey = node.survey(name, *args, timeout=timeout, peers=homes)
        replies = [reply async for reply in survey]
    except NoProvider:
        raise nobody(queue) from None
    for error in survey.failed.values():
        raise as_told(error) if isinstance(error, RemoteError) else error
    survey.raise_for_missing()
    return [(reply.peer, reply.value) for reply in replies]
