"""RPyC: a service with one exposed method, called over one connection, as its tutorial does.

It is synchronous; of several calls at once its documentation offers asynchronous proxies.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from typing import Any, Final

import rpyc
from rpyc.utils.server import ThreadedServer

from benchmarks.control import Control
from benchmarks.systems import Params, Role
from benchmarks.systems.drivers import call_serially


class Echo(rpyc.Service):  # type: ignore[misc]  # rpyc has no types
    """The service."""

    def exposed_echo(self, payload: bytes) -> bytes:
        return payload


def echo_server(control: Control, _params: Params) -> None:
    server = ThreadedServer(Echo, hostname="127.0.0.1", port=0)
    thread = threading.Thread(target=server.start)
    thread.start()
    control.report(port=server.port)
    control.receive()
    server.close()
    thread.join()


def serial_client(control: Control, params: Params) -> None:
    connection = rpyc.connect("127.0.0.1", params["peer"]["port"])
    call_serially(control, os.urandom(params["size"]), connection.root.echo)
    connection.close()


def window_client(control: Control, params: Params) -> None:
    payload = os.urandom(params["size"])
    connection = rpyc.connect("127.0.0.1", params["peer"]["port"])
    echo = rpyc.async_(connection.root.echo)
    control.report()
    while (command := control.receive()) is not None:
        started_ns = time.monotonic_ns()
        end_ns = started_ns + int(command["seconds"] * 1e9)
        pending: deque[Any] = deque()
        issued = answered = 0
        while pending or time.monotonic_ns() < end_ns:
            while len(pending) < params["in_flight"] and time.monotonic_ns() < end_ns:
                pending.append(echo(payload))
                issued += 1
            result = pending.popleft()
            result.wait()
            answered += result.value == payload
        elapsed_ns = time.monotonic_ns() - started_ns
        control.report(issued=issued, answered=answered, elapsed_ns=elapsed_ns)
    connection.close()


ROLES: Final[dict[str, Role]] = {
    "window_server": echo_server,
    "serial_server": echo_server,
    "window_client": window_client,
    "serial_client": serial_client,
}
