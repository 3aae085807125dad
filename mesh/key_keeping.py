"""What a running node does when it learns of a new mesh key, or of revoked certificates.

It keeps them where its own came from (``key_file=``, ``identity=``), so a restart finds them,
announces itself by the new key, and tells its peers, who do the same: whoever has any connection
to the mesh hears of it. A node that got its key as text cannot keep a new one, and says so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from mesh.key_settings import KeySettings
from mesh.logs import get_logger
from mesh.runtime.threads import call_in_thread
from mesh.security import Credentials
from mesh.security.certificates import Revocations
from mesh.security.key_files import KeptKeys, write_keys
from patterns.errors import ConfigError

__all__ = ["KeyKeeper"]

logger = get_logger("mesh.security")


class KeyKeeper:
    """``changed()`` is called on the loop when the mesh key or the revocations are others now."""

    def __init__(
        self, settings: KeySettings, credentials: Credentials, changed: Callable[[], None]
    ) -> None:
        self._settings = settings
        self._credentials = credentials
        self._changed = changed
        self._texts = settings.texts
        self._keeping: asyncio.Task[None] | None = None
        self._is_stale = False
        credentials.on_news = self._on_news

    def _on_news(self) -> None:
        self._is_stale = True
        if self._keeping is None or self._keeping.done():
            self._keeping = asyncio.get_running_loop().create_task(self._keep())
        self._changed()

    async def _keep(self) -> None:
        """One write at a time, the latest state last."""
        while self._is_stale:
            self._is_stale = False
            credentials = self._credentials
            kept = KeptKeys(tuple(key.text for key in credentials.keys), credentials.until)
            revocations = credentials.revocations
            loop = asyncio.get_running_loop()
            try:
                await call_in_thread(loop, lambda: self._write(kept, revocations))  # noqa: B023
            except (OSError, ConfigError) as error:
                logger.error("the new keys could not be kept, and are gone at a restart: %s", error)

    def _write(self, kept: KeptKeys, revocations: Revocations) -> None:
        texts = kept.texts
        identity = self._settings.identity
        if identity is not None and identity.path is not None:
            # Other processes of this machine may have the same file, and put a newer key there.
            key = texts[0] if texts[0] != self._texts[0] else None
            identity.update(
                lambda now: (now if key is None else now.with_key(key)).with_revocations(
                    revocations
                )
            )
        elif self._settings.file is not None:
            if texts != self._texts:
                write_keys(self._settings.file, kept)
        elif texts[0] != self._texts[0]:
            logger.warning(
                "the mesh key has changed, and this node got its own as text: "
                "give it the new one before it is started again"
            )
        self._texts = texts

    async def close(self) -> None:
        """Until what was learnt is kept."""
        self._credentials.on_news = _nothing
        if self._keeping is not None:
            await asyncio.wait({self._keeping})


def _nothing() -> None:
    pass
