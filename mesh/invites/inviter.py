"""The inviter's side: waits until the code is used, once, or its time is over.

Rules, for a listener that anybody on the network can dial:

- A wrong code never ends an invite: a stranger who could burn it would need no guess. It is counted
  and answered a second later, which bounds guesses to 16 a second, against 2^60 codes.
- At most `MAX_CONNECTIONS` are open, and `MAX_PER_HOST` from one address, so that one stranger does
  not keep all others out; each has `DEADLINE` seconds to say one short thing.
- The first machine with the right code has the invite. The same machine (the same node key) may ask
  again, and gets the same certificate: an answer can be lost. Any other is told that it is used.
- It ends when that machine says that it has saved what it got.
"""

from __future__ import annotations

import asyncio
import secrets
import socket
from collections import Counter
from collections.abc import Callable, Sequence

import discovery as d
from mesh.invites import exchange
from mesh.invites.codes import PURPOSE, Code
from mesh.invites.exchange import Request, Saved, Used, Welcome
from mesh.transport.addresses import ALL_IPV4, is_wildcard
from mesh.transport.listening import listen
from mesh.wire.frames import BadFrame

__all__ = ["PROTOCOL", "Inviter"]

MAX_CONNECTIONS = 16
MAX_PER_HOST = 4

DEADLINE = 5.0
"""Seconds for each thing that the other side has to say: it has it ready."""

WRONG_DELAY = 1.0
"""Seconds until a wrong code is refused; its connection stays one of the few meanwhile."""

PROTOCOL = 1
"""Version of the exchange, as it is announced."""

Issue = Callable[[bytes], Welcome]
"""Makes the answer for a node key. Called once; what it raises ends the invite."""


class Inviter:
    """One invite. Use it as a context on the event loop: it listens and announces meanwhile.

    :param host: the address to bind; None for all
    :param interfaces: those to announce on, as of a node
    """

    def __init__(
        self,
        code: Code,
        issue: Issue,
        *,
        host: str | None = None,
        port: int = 0,
        interfaces: Sequence[str] = (),
        sources: Sequence[d.Source] | None = None,
    ) -> None:
        self.code = code
        self.wrong = 0
        """Requests that were not sealed with the code, so far."""
        self.is_taken = False
        """Whether a machine has used the code, and was answered."""
        self.port = port
        self._issue = issue
        self._host = "*" if host is None else host.strip("[]")
        self._network = d.Network(interfaces, self._announce)
        self._discovery = d.Discovery(
            [d.Mdns(interfaces), d.Local()] if sources is None else sources
        )
        self._id = secrets.token_hex(16)
        self._server: asyncio.Server
        self._node_key: bytes | None = None
        self._welcome: Welcome
        self._hosts: Counter[str] = Counter()
        """Open connections by the address that they come from."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._saved: asyncio.Future[None]

    async def __aenter__(self) -> Inviter:
        """Raises OSError when the address is not to be had."""
        self._saved = asyncio.get_running_loop().create_future()
        listener = listen(self._host, self.port)
        bound, self.port = listener.getsockname()[:2]
        if not is_wildcard(self._host):
            self._host = bound  # where a name was given, its address
        self._server = await asyncio.start_server(
            self._on_connection, sock=listener, limit=exchange.MAX_SMALL_BYTES
        )
        if is_wildcard(self._host):
            self._network.start()
        await self._discovery.start(self._announcement())
        return self

    async def __aexit__(self, *error: object) -> None:
        self._server.close()
        self._network.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._discovery.close()

    @property
    def addresses(self) -> tuple[str, ...]:
        """Where other machines can dial, best first."""
        return tuple(d.format_address(host, self.port) for host in self._dialable(False))

    async def wait(self, seconds: float) -> bool:
        """Until the code is used and the machine has saved what it got; False after ``seconds``.

        Raises what making the certificate raised.
        """
        done, _ = await asyncio.wait([self._saved], timeout=seconds)
        for future in done:
            future.result()
        return bool(done)

    # Announcing.

    def _dialable(self, link_local: bool) -> Sequence[str]:
        if not is_wildcard(self._host):
            return (self._host,)
        found = self._network.choice.hosts(link_local=link_local)
        if self._host == ALL_IPV4 or not socket.has_dualstack_ipv6():
            found = [one for one in found if ":" not in one]
        return found or ("127.0.0.1",)

    def _announcement(self) -> d.Announcement:
        hosts = tuple(self._dialable(True))
        return d.Announcement(self._id, PURPOSE, PROTOCOL, hosts, self.port, self.code.fingerprint)

    def _announce(self) -> None:
        """The machine has other addresses now."""
        self._discovery.update(self._announcement())

    # Connections.

    def _on_connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = writer.get_extra_info("peername")
        host = str(peer[0]) if peer else ""
        if len(self._tasks) >= MAX_CONNECTIONS or self._hosts[host] >= MAX_PER_HOST:
            writer.transport.abort()
            return
        # Not a coroutine for asyncio to run: it would log those that are cancelled at the end.
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        self._hosts[host] += 1

        def give_place_back(task: asyncio.Task[None]) -> None:
            # Here, for a task that is cancelled before it has begun runs none of its own code.
            if task.cancelled():
                writer.transport.abort()
            self._tasks.discard(task)
            self._hosts[host] -= 1
            if not self._hosts[host]:
                del self._hosts[host]

        task.add_done_callback(give_place_back)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._talk(reader, writer)
        except (OSError, EOFError, BadFrame):
            # TimeoutError is an OSError, IncompleteReadError an EOFError: they said nothing, too
            # much, or went away. Whoever is invited asks again.
            return
        finally:
            writer.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with asyncio.timeout(DEADLINE):
            frame = await exchange.read_frame(reader, exchange.MAX_SMALL_BYTES)
        try:
            request = Request.unpack(self.code.key, frame)
        except BadFrame:
            self.wrong += 1
            await asyncio.sleep(WRONG_DELAY)
            exchange.write_frame(writer, b"")
            return
        exchange.write_frame(writer, self._answer(request))
        async with asyncio.timeout(DEADLINE):
            await writer.drain()
            frame = await exchange.read_frame(reader, exchange.MAX_SMALL_BYTES)
        if Saved.is_one(self.code.key, request.nonce, frame) and not self._saved.done():
            self._saved.set_result(None)

    def _answer(self, request: Request) -> bytes:
        """There is no wait in here: of two requests, one is the first."""
        if self._node_key is None:
            self._node_key = request.node_key
            try:
                self._welcome = self._issue(request.node_key)
            except Exception as error:
                self._saved.set_exception(error)
                raise OSError("no certificate could be made") from error
            self.is_taken = True
        if request.node_key != self._node_key or not self.is_taken:
            return Used.pack(self.code.key, request.nonce)
        return self._welcome.pack(self.code.key, request)
