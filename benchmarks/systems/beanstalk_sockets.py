"""beanstalkd, spoken to through plain sockets: its protocol is a few lines of text.

Its clients in Python wait for the answer to each command; what is best is to send many and then
read all answers, which its protocol allows, so that is what is done here. A producer has two such
batches open, a worker sends "done" for the last batch with the request for the next.

Durable is `-b` with `-f 0`: the log is synced at each write. The producers of `at_once` are one
connection each.
"""

from __future__ import annotations

import os
import selectors
import socket
import tempfile
import time
from typing import Final

from benchmarks.control import Control
from benchmarks.systems import ANSWER_TIMEOUT_S, Params, Role, Tally
from benchmarks.systems.drivers import put, work
from benchmarks.systems.servers import cpu_s_of, listening

BATCH = 256
"""Commands sent at once: their answers fit into the buffers of a socket."""

FEW = 8
"""Requests that a worker begins with; it sends twice as many as were of use, for those that are in
vain cost the server as much."""

IDLE_S = 0.001
"""A pause when there is little to do: `reserve` waits for whole seconds, or for ever."""

READ_SIZE = 1 << 18

RESERVE = b"reserve-with-timeout 0\r\n"


def broker(control: Control, params: Params) -> None:
    with tempfile.TemporaryDirectory() as folder:
        log = ["-b", folder, "-f", "0"] if params["durable"] else []

        def command(port: int) -> list[str]:
            return ["beanstalkd", "-l", "127.0.0.1", "-p", str(port), *log]

        with listening(command, folder) as (server, port):
            control.report(port=port)
            while control.receive() is not None:
                control.report(cpu_s=cpu_s_of(server.pid))


class Connection:
    """Sends commands, and reads answers in lines."""

    def __init__(self, params: Params) -> None:
        address = "127.0.0.1", params["broker"]["port"]
        self.socket = socket.create_connection(address, ANSWER_TIMEOUT_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.send = self.socket.sendall
        self._rest = b""

    def read(self) -> bytes:
        data = self.socket.recv(READ_SIZE)
        if not data:
            raise ConnectionError("beanstalkd has closed the connection")
        return data

    def read_answers(self, beginning: bytes) -> int:
        """Read what there is, answers of one line; returns how many these are."""
        lines, newline, self._rest = (self._rest + self.read()).rpartition(b"\n")
        count = (lines + newline).count(b"\n")
        if lines.count(beginning) != count:
            raise ValueError(f"beanstalkd answered {lines[:100]!r}")
        return count

    def read_jobs(self, requests: int, size: int) -> list[tuple[bytes, bytes]]:
        """Read the answers to so many requests for a job, and to deletions before them: numbers
        and bodies."""
        data, at = self._rest, 0
        jobs: list[tuple[bytes, bytes]] = []
        while requests:
            end = data.find(b"\n", at) + 1
            is_job = data.startswith(b"RESERVED", at)
            if not end or (is_job and len(data) < end + size + 2):
                data, at = data[at:] + self.read(), 0
                continue
            if is_job:
                jobs.append((data[at + 9 : data.find(b" ", at + 9)], data[end : end + size]))
                end += size + 2
                requests -= 1
            elif data.startswith(b"TIMED_OUT", at):
                requests -= 1
            elif not data.startswith(b"DELETED", at):
                raise ValueError(f"beanstalkd answered {data[at : at + 100]!r}")
            at = end
        self._rest = data[at:]
        return jobs


def putter(control: Control, params: Params) -> None:
    payload = os.urandom(params["size"])
    command = b"put 1024 0 60 %d\r\n%b\r\n" % (len(payload), payload)
    if params["at_once"] > 1:
        put_at_once(control, params, command)
    else:
        put_in_batches(control, params, command * BATCH)


def put_in_batches(control: Control, params: Params, batch: bytes) -> None:
    connection, owed = Connection(params), 0

    def put_batch() -> int:
        nonlocal owed
        connection.send(batch)
        owed += BATCH
        while owed > BATCH:
            owed -= connection.read_answers(b"INSERTED")
        return BATCH

    def settle() -> None:
        nonlocal owed
        while owed:
            owed -= connection.read_answers(b"INSERTED")

    put(control, put_batch, settle)


def put_at_once(control: Control, params: Params, command: bytes) -> None:
    """Each of many connections has one job open."""
    selector = selectors.DefaultSelector()
    connections = [Connection(params) for _ in range(params["at_once"])]
    for connection in connections:
        selector.register(connection.socket, selectors.EVENT_READ, connection)
    idle = list(connections)

    def put_batch() -> int:
        count = len(idle)
        for connection in idle:
            connection.send(command)
        idle.clear()
        wait()
        return count

    def wait() -> None:
        ready = selector.select(ANSWER_TIMEOUT_S)
        if not ready:
            raise TimeoutError(f"beanstalkd did not answer within {ANSWER_TIMEOUT_S} s")
        for key, _ in ready:
            if key.data.read_answers(b"INSERTED"):
                idle.append(key.data)

    def settle() -> None:
        while len(idle) < len(connections):
            wait()

    put(control, put_batch, settle)


def worker(control: Control, params: Params) -> None:
    connection, tally, size = Connection(params), Tally(params["size"]), params["size"]
    hit = tally.hit
    jobs: list[tuple[bytes, bytes]] = []

    def work_batch() -> int:
        nonlocal jobs
        for _, body in jobs:
            hit(body)
        done = len(jobs)
        asked = min(BATCH, max(FEW, 2 * done))
        deletions = b"".join([b"delete %b\r\n" % number for number, _ in jobs])
        connection.send(deletions + RESERVE * asked)
        jobs = connection.read_jobs(asked, size)
        if len(jobs) < FEW:
            time.sleep(IDLE_S)
        return done

    work(control, tally, work_batch)


ROLES: Final[dict[str, Role]] = {"broker": broker, "putter": putter, "worker": worker}
