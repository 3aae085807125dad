"""Raw pyzmq, one ZeroMQ message per message: blocking loops and nothing else in the process.

This is pyzmq as its guide teaches it: `send` and `recv` for one frame, `*_multipart` for several,
default socket options, except `XPUB_NODROP` so that a flood measures capacity instead of how fast
libzmq drops. It is no bound on what pyzmq can do: subject and payload in one frame, plain calls
instead of `*_multipart`, or many messages in one frame are faster; the last is what `mesh` does.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import cycle, islice
from statistics import median
from typing import Final

import zmq

from benchmarks.control import STDIN, Control
from benchmarks.systems import (
    ANSWER_TIMEOUT_S,
    PUBLISHES_PER_SAMPLE,
    SETUP_TIMEOUT_S,
    SUBJECT,
    Params,
    Role,
    Tally,
    subjects_of,
)
from benchmarks.systems.drivers import call_serially, flood

LOOPBACK = "tcp://127.0.0.1:*"
TOPIC = SUBJECT.encode()
MARK_PAYLOAD = b""

SENDS_PER_CLOCK_CHECK = 64
"""A clock read costs 1/60 of a send; this makes it vanish and overruns by less than 1 ms."""

IDLE_POLL_MS = 200
"""How often a server without work looks whether it should stop."""


@contextmanager
def open_socket(kind: int) -> Iterator[zmq.Socket[bytes]]:
    """A socket in a context of its own, whose blocking sends and receives fail in the end."""
    context = zmq.Context()
    socket = context.socket(kind)
    socket.linger = 0
    socket.sndtimeo = socket.rcvtimeo = int(ANSWER_TIMEOUT_S * 1000)
    try:
        yield socket
    finally:
        socket.close()
        context.term()


def bind(socket: zmq.Socket[bytes], control: Control) -> None:
    socket.bind(LOOPBACK)
    control.report(address=socket.get_string(zmq.LAST_ENDPOINT))


def publisher(control: Control, params: Params) -> None:
    payload = os.urandom(params["size"])
    with open_socket(zmq.XPUB) as xpub:
        xpub.setsockopt(zmq.XPUB_NODROP, 1)
        xpub.setsockopt(zmq.XPUB_VERBOSE, 1)  # tells of every subscriber, not of every new topic
        xpub.rcvtimeo = int(SETUP_TIMEOUT_S * 1000)
        bind(xpub, control)
        topics = [subject.encode() for subject in subjects_of(params)]
        topics = list(islice(cycle(topics), max(len(topics), SENDS_PER_CLOCK_CHECK)))
        connected = 0

        def wait_for_receivers() -> None:
            nonlocal connected
            while connected < params["receivers"]:
                xpub.recv()
                connected += 1

        def publish_chunk() -> int:
            for topic in topics:
                xpub.send_multipart([topic, payload])
            return len(topics)

        def mark() -> None:
            xpub.send_multipart([TOPIC, MARK_PAYLOAD])

        flood(control, wait_for_receivers, publish_chunk, mark)


def subscriber(control: Control, params: Params) -> None:
    tally = Tally(params["size"])
    handler = tally.hit
    with open_socket(zmq.SUB) as sub:
        sub.connect(params["peer"]["address"])
        sub.setsockopt(zmq.SUBSCRIBE, TOPIC)
        control.report()
        while True:
            if not sub.poll(IDLE_POLL_MS) and control.stopping():
                return
            while True:
                try:
                    _topic, payload = sub.recv_multipart(zmq.NOBLOCK)
                except zmq.Again:
                    break
                if payload:
                    handler(payload)
                else:
                    tally.close_at_mark(control, time.monotonic_ns())


def member(control: Control, params: Params) -> None:
    tally = Tally(params["size"])
    handler = tally.hit
    with open_socket(zmq.PULL) as pull:
        bind(pull, control)
        poller = zmq.Poller()
        poller.register(pull, zmq.POLLIN)
        poller.register(STDIN, zmq.POLLIN)
        while True:
            ready = dict(poller.poll())
            if STDIN in ready:
                if control.receive() is None:
                    return
                tally.report_handled(control)
            if pull not in ready:
                continue
            while True:
                try:
                    handler(pull.recv(zmq.NOBLOCK))
                except zmq.Again:
                    break
            tally.at_ns = time.monotonic_ns()


def caster(control: Control, params: Params) -> None:
    """A PUSH shares out by turns, from the first message on among all it has connected to."""
    payload = os.urandom(params["size"])
    with open_socket(zmq.PUSH) as push:
        for peer in params["peers"]:
            push.connect(peer["address"])
        control.report()
        while (command := control.receive()) is not None:
            cpu_before_s = time.process_time()
            started_ns = time.monotonic_ns()
            end_ns = started_ns + int(command["seconds"] * 1e9)
            sent = 0
            while time.monotonic_ns() < end_ns:
                for _ in range(SENDS_PER_CLOCK_CHECK):
                    push.send(payload)
                sent += SENDS_PER_CLOCK_CHECK
            control.report(
                sent=sent,
                started_ns=started_ns,
                ended_ns=time.monotonic_ns(),
                cpu_s=time.process_time() - cpu_before_s,
            )


def window_server(control: Control, _params: Params) -> None:
    serve_echo(control, zmq.ROUTER)


def serial_server(control: Control, _params: Params) -> None:
    serve_echo(control, zmq.REP)


def serve_echo(control: Control, kind: int) -> None:
    with open_socket(kind) as socket:
        socket.rcvtimeo = IDLE_POLL_MS
        bind(socket, control)
        while True:
            try:
                frames = socket.recv_multipart()
            except zmq.Again:
                if control.stopping():
                    return
                continue
            socket.send_multipart(frames)


def window_client(control: Control, params: Params) -> None:
    """One ROUTER answers one DEALER in order, so a count of what is in flight is enough."""
    payload = os.urandom(params["size"])
    window = params["in_flight"]
    with open_socket(zmq.DEALER) as dealer:
        dealer.connect(params["peer"]["address"])
        control.report()
        while (command := control.receive()) is not None:
            started_ns = time.monotonic_ns()
            end_ns = started_ns + int(command["seconds"] * 1e9)
            issued = answered = 0
            while time.monotonic_ns() < end_ns:
                while issued - answered < window:
                    dealer.send(payload)
                    issued += 1
                if dealer.recv() == payload:
                    answered += 1
            while answered < issued and dealer.recv() == payload:
                answered += 1
            elapsed_ns = time.monotonic_ns() - started_ns
            control.report(issued=issued, answered=answered, elapsed_ns=elapsed_ns)


def serial_client(control: Control, params: Params) -> None:
    with open_socket(zmq.REQ) as req:
        req.connect(params["peer"]["address"])

        def call(payload: bytes) -> bytes:
            req.send(payload)
            return req.recv()

        call_serially(control, os.urandom(params["size"]), call)


def lonely_publisher(control: Control, params: Params) -> None:
    payload = os.urandom(params["size"])
    with open_socket(zmq.PUB) as pub:
        bind(pub, control)
        while (command := control.receive()) is not None:
            samples_ns: list[int] = []
            end_ns = time.monotonic_ns() + int(command["seconds"] * 1e9)
            while time.monotonic_ns() < end_ns:
                before_ns = time.monotonic_ns()
                for _ in range(PUBLISHES_PER_SAMPLE):
                    pub.send_multipart([TOPIC, payload])
                samples_ns.append(time.monotonic_ns() - before_ns)
            control.report(
                reached=0,
                ns_per_publish=median(samples_ns) / PUBLISHES_PER_SAMPLE,
            )


ROLES: Final[dict[str, Role]] = {
    "publisher": publisher,
    "subscriber": subscriber,
    "window_server": window_server,
    "window_client": window_client,
    "serial_server": serial_server,
    "serial_client": serial_client,
    "lonely_publisher": lonely_publisher,
    "member": member,
    "caster": caster,
}
