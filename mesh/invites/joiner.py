"""The joining machine's side: finds the inviter, asks it, and keeps what it gets.

The node key is made here, and its secret half never leaves. All addresses that may be the inviter's
are asked, a few at a time: the fingerprint by which it is found can be announced by anybody who has
heard it. An impostor gets a sealed request and cannot answer it.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import secrets
from collections.abc import AsyncIterator, Callable, Sequence

import discovery as d
from mesh.invites import exchange
from mesh.invites.codes import PURPOSE, Code
from mesh.invites.exchange import Request, Saved, Used, Welcome
from mesh.invites.inviter import PROTOCOL
from mesh.security.boxes import new_secret, public_of
from mesh.security.certificates import NO_REVOCATIONS, Certificate, Revocations
from mesh.security.identity_file import IdentityFile
from mesh.wire.frames import BadFrame
from patterns.errors import MeshError

__all__ = ["NotInvited", "join"]

ATTEMPT = 5.0
"""Seconds for one address: to connect, and to be answered."""

PAUSE = 0.5
"""Seconds until an address is asked again that did not answer."""

MAX_ATTEMPTS = 8
"""Addresses that are asked at once."""

MAX_ADDRESSES = 64
"""Addresses that are asked at all: an inviter has a few, and impostors may announce thousands."""

SEEKER = "join"
"""What a joining machine calls itself where a node says the name of its mesh. A source announces
whoever uses it, so it has to say something."""

DISCARD_PORT = 9
"""Where a joining machine says that it listens: nobody does (RFC 863)."""

Keep = Callable[[IdentityFile], None]


class NotInvited(MeshError):
    """Raised when nobody has let this machine in; says why, as far as it is known."""


async def join(
    code: Code,
    keep: Keep,
    *,
    at: str | None = None,
    timeout: float = 30.0,
    interfaces: Sequence[str] = (),
    sources: Sequence[d.Source] | None = None,
) -> IdentityFile:
    """Use an invite; returns the identity of this machine.

    :param keep: saves the identity; the invite counts as used when it returns
    :param at: the inviter's "host:port"; None searches the network, by mDNS or `sources`
    :raises NotInvited: nobody answered in time, or the invite is used
    :raises ConfigError: what was answered does not fit together
    :raises MeshError: it cannot be saved
    """
    attempt = _Attempt(code, keep)
    code.key  # noqa: B018  its stretching is none of the time to find and to ask
    try:
        async with asyncio.timeout(timeout):
            if at is not None:
                return await attempt.insist(at)
            async with _candidates(code, interfaces, sources) as watch:
                return await attempt.first_of(watch)
    except TimeoutError:
        raise NotInvited(attempt.complaint(at)) from None


class _Used(NotInvited):
    """Said under the code's key: it is true."""


class _Attempt:
    """One machine's way in, by whichever address leads there."""

    def __init__(self, code: Code, keep: Keep) -> None:
        self._code = code
        self._keep = keep
        self._secret = new_secret()
        self._node_key = public_of(self._secret)
        self._kept: IdentityFile | None = None
        self._trouble = ""
        """Why the last attempt failed."""

    def complaint(self, at: str | None) -> str:
        if self._trouble:
            return self._trouble
        if at is not None:
            return f"{at} did not answer"
        return (
            "nobody was found who waits for this code: is 'meshctl invite' still running, in the "
            "same network? Where multicast does not reach, give its address: --at HOST:PORT"
        )

    async def first_of(self, watch: AsyncIterator[d.Candidate]) -> IdentityFile:
        """Ask all addresses of the candidates, as they come, until one lets us in."""
        let_in: asyncio.Future[IdentityFile] = asyncio.get_running_loop().create_future()
        places = asyncio.Semaphore(MAX_ATTEMPTS)
        attempts: list[asyncio.Task[IdentityFile]] = []

        async def follow() -> None:
            async for address in self._addresses(watch):
                attempts.append(asyncio.create_task(self.insist(address, places)))
                attempts[-1].add_done_callback(functools.partial(self._end, let_in))

        following = asyncio.create_task(follow())
        try:
            return await let_in
        finally:
            ending = [following, *attempts]
            for task in ending:
                task.cancel()
            await asyncio.gather(*ending, return_exceptions=True)

    async def _addresses(self, watch: AsyncIterator[d.Candidate]) -> AsyncIterator[str]:
        """Each address of what may be the inviter, once."""
        seen: set[str] = set()
        async for candidate in watch:
            for address in candidate.addresses if self._is_inviter(candidate) else ():
                if address not in seen and len(seen) < MAX_ADDRESSES:
                    seen.add(address)
                    yield address

    def _end(
        self, let_in: asyncio.Future[IdentityFile], attempt: asyncio.Task[IdentityFile]
    ) -> None:
        if attempt.cancelled() or let_in.done():
            return
        error = attempt.exception()
        if error is None:
            let_in.set_result(attempt.result())
        elif isinstance(error, NotInvited) and not isinstance(error, _Used):
            # Anybody could say so: it may be an impostor.
            self._trouble = str(error)
        else:
            let_in.set_exception(error)

    def _is_inviter(self, candidate: d.Candidate) -> bool:
        said = candidate.mesh, candidate.fingerprint, candidate.protocol
        return not candidate.is_gone and said == (PURPOSE, self._code.fingerprint, PROTOCOL)

    async def insist(self, address: str, places: asyncio.Semaphore | None = None) -> IdentityFile:
        """Ask there until it answers. Raises NotInvited for a no."""
        while True:
            try:
                async with places or contextlib.nullcontext(), asyncio.timeout(ATTEMPT):
                    return await self._ask(*d.parse_address(address))
            except (OSError, EOFError, BadFrame) as error:
                # A place may be full for a while, and an answer be lost.
                self._trouble = f"{address} did not let us in: {_reason(error)}"
            await asyncio.sleep(PAUSE)

    async def _ask(self, host: str, port: int) -> IdentityFile:
        reader, writer = await asyncio.open_connection(host, port)
        try:
            request = Request(exchange.new_nonce(), self._node_key)
            exchange.write_frame(writer, request.pack(self._code.key))
            frame = await exchange.read_frame(reader, exchange.MAX_WELCOME_BYTES)
            if not frame:
                raise NotInvited("the code is wrong, or of another invite")
            if Used.is_one(self._code.key, request.nonce, frame):
                raise _Used("another machine has used this code: ask for a new invite")
            welcome = Welcome.unpack(self._code.key, self._secret, request, frame)
            identity = self._keep_once(welcome)
            exchange.write_frame(writer, Saved.pack(self._code.key, request.nonce))
            await writer.drain()
            return identity
        finally:
            writer.close()

    def _keep_once(self, welcome: Welcome) -> IdentityFile:
        """Two addresses may lead to the same inviter, at the same time."""
        if self._kept is None:
            identity = self._identity(welcome)
            try:
                self._keep(identity)
            except OSError as error:  # no trouble of the connection
                why = f"{error.filename}: {error.strerror}"
                raise MeshError(f"the identity cannot be saved: {why}") from None
            self._kept = identity
        return self._kept

    def _identity(self, welcome: Welcome) -> IdentityFile:
        newest = welcome.revocations
        # Where the clock is not set yet it is not valid yet: it is kept all the same.
        return IdentityFile(
            mesh=welcome.mesh,
            key=welcome.key,
            node_secret=self._secret,
            certificate=Certificate.from_bytes(welcome.certificate, welcome.authority),
            authority=welcome.authority,
            revocations=(
                Revocations.from_bytes(newest, welcome.authority) if newest else NO_REVOCATIONS
            ),
        )


@contextlib.asynccontextmanager
async def _candidates(
    code: Code, interfaces: Sequence[str], sources: Sequence[d.Source] | None
) -> AsyncIterator[d.Watch]:
    network = d.Network(interfaces, lambda: None)
    network.start()
    finder = d.Discovery([d.Mdns(interfaces), d.Local()] if sources is None else sources)
    try:
        # With addresses of loopback alone, mDNS would search there alone.
        hosts = tuple(network.choice.hosts(link_local=True)) or ("127.0.0.1",)
        id = secrets.token_hex(16)
        await finder.start(d.Announcement(id, SEEKER, PROTOCOL, hosts, DISCARD_PORT))
        yield finder.watch()
    finally:
        network.close()
        await finder.close()


def _reason(error: Exception) -> str:
    if isinstance(error, BadFrame):
        return "it does not know the code"
    if isinstance(error, EOFError):
        return "it hung up, as one that is busy or does not know the code does"
    if isinstance(error, TimeoutError):
        return f"no answer within {ATTEMPT:g} s"
    number = getattr(error, "errno", None) or 0
    return os.strerror(number) if number > 0 else str(error)
