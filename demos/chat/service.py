"""What a chat serves to the others. Arguments are strangers': anything at all may be in them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import mesh

if TYPE_CHECKING:
    from demos.chat.session import Session

__all__ = ["Service"]


class Service:
    """The methods of the service; ``demos.chat.files`` says what those about files mean."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def tell(self, request: mesh.Request, data: Any) -> str | None:
        """A private message: None when it is taken, else why not."""
        return self._session.hear_private(request.caller, data)

    def history(self, room: Any, limit: Any) -> dict[str, Any]:
        """The newest lines of a room."""
        return self._session.history(room, limit)

    def offer(self, request: mesh.Request, transfer: Any, name: Any, size: Any) -> str | None:
        refusal = self._session.refusal_of(request.caller)
        return refusal or self._session.files.offer(request.caller.id, transfer, name, size)

    async def chunk(
        self, request: mesh.Request, transfer: Any, offset: Any, data: Any
    ) -> str | None:
        return await self._session.files.chunk(request.caller.id, transfer, offset, data)

    def finish(self, request: mesh.Request, transfer: Any, digest: Any) -> str | None:
        return self._session.files.finish(request.caller.id, transfer, digest)

    def cancel(self, request: mesh.Request, transfer: Any) -> None:
        self._session.files.cancelled(request.caller.id, transfer)
