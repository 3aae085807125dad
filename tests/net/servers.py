"""A TCP server for tests of tunnels: the first line of a connection says what it does with it.

=============  ===============================================================
``echo``       sends back what comes, and ends when that does
``count``      reads to the end, then says how many bytes came
``first``      says "bye" and ends its own side, then reads on
``reset``      resets
``hold``       waits for the other side
``flood N``    sends N MiB, each filled with its own number
=============  ===============================================================
"""

from __future__ import annotations

import contextlib
import queue
import socket
import struct
import threading
from types import TracebackType
from typing import Self

__all__ = ["MIB", "RESET_ON_CLOSE", "Server", "block", "connect", "read_all"]

MIB = 1024 * 1024
SECONDS = 60.0
RESET_ON_CLOSE = struct.pack("ii", 1, 0)


def block(number: int) -> bytes:
    """The MiB of this number."""
    return number.to_bytes(4) * (MIB // 4)


def connect(port: int) -> socket.socket:
    """A connection to a port of this machine; nothing on it waits for ever."""
    return socket.create_connection(("127.0.0.1", port), timeout=SECONDS)


def read_all(connection: socket.socket) -> bytes:
    """To the end."""
    parts = []
    while data := connection.recv(MIB):
        parts.append(data)
    return b"".join(parts)


class Server:
    """Use it as a context. ``outcomes`` tells of ``first`` and ``hold`` how they ended."""

    def __init__(self, port: int = 0) -> None:
        self._listener = socket.create_server(("127.0.0.1", port), backlog=256)
        self.port: int = self._listener.getsockname()[1]
        self.outcomes: queue.SimpleQueue[bytes | str] = queue.SimpleQueue()
        self.sent = 0
        """Bytes of the flood that the system has taken so far."""
        self._threads: list[threading.Thread] = []
        self._open: set[socket.socket] = set()
        self._accepting = threading.Thread(target=self._accept)

    def __enter__(self) -> Self:
        self._accepting.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._accepting.join()
        self._listener.close()
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            connection.settimeout(SECONDS)
            self._open.add(connection)
            thread = threading.Thread(target=self._serve, args=(connection,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            line = bytearray()
            while not line.endswith(b"\n"):
                data = connection.recv(1)
                if not data:
                    return
                line += data
            word, _, number = line.decode().strip().partition(" ")
            getattr(self, f"_{word}")(connection, int(number or 0))
        self._open.discard(connection)

    def _echo(self, connection: socket.socket, number: int) -> None:
        while data := connection.recv(MIB):
            connection.sendall(data)

    def _count(self, connection: socket.socket, number: int) -> None:
        connection.sendall(str(len(read_all(connection))).encode())

    def _first(self, connection: socket.socket, number: int) -> None:
        connection.sendall(b"bye")
        connection.shutdown(socket.SHUT_WR)
        self.outcomes.put(read_all(connection))

    def _reset(self, connection: socket.socket, number: int) -> None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)

    def _hold(self, connection: socket.socket, number: int) -> None:
        connection.sendall(b"holding")
        try:
            self.outcomes.put(read_all(connection))
        except OSError as error:
            self.outcomes.put(type(error).__name__)

    def _flood(self, connection: socket.socket, number: int) -> None:
        for each in range(number):
            connection.sendall(block(each))
            self.sent += MIB
