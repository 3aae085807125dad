"""Bytes through streams: how fast, and in how much memory; and TCP through expose and forward.

``python -m benchmarks.tunnels``. Each side is a process of its own, on this host, by loopback:

``stream``   writes ``--gigabytes`` into a stream that is read as fast as they come
``slow``     the same to a reader that takes ``--rate`` MB/s, for ``--seconds``
``direct``   a TCP connection from one process to another, for comparison
``forward``  the same connection through ``meshctl expose`` and ``meshctl forward``

Shown for each: MB/s; and of either side the CPU time for a GB, which other programs on the machine
change less, and the highest resident memory in MB (VmHWM, as Linux tells it, interpreter and
libraries included). The exit code is 1 when a stream's side took more than
``MEMORY_MB``, or bytes were lost.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import mesh

MEMORY_MB = 100
"""Of a side of a stream, whatever goes through it."""

START_SECONDS = 30.0
CHUNK = bytes(range(256)) * 1024
"""Written at once: 256 KiB."""

MB = 1e6
RECEIVE_BYTES = 256 * 1024


def peak_mb(pid: int | str = "self") -> float:
    """The highest resident memory of a process so far."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / MB
    raise OSError("/proc has no line 'VmHWM:'")


def cpu_seconds(pid: int) -> float:
    """Of all threads of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def side(name: str, cpu: float, total: int, peak: float) -> str:
    """What one side took."""
    return f"{name} {cpu / total * 1e9:.1f} s/GB, {peak:.0f} MB"


# The reader of a stream, in a process of its own.


async def read(name: str, rate: float) -> None:
    """Serve the stream "sink"; ``rate`` in bytes a second, 0 for as fast as they come."""
    node = mesh.AsyncNode("sink", mesh=name, discovery=("local",))

    @node.stream
    async def sink(stream: mesh.AsyncStream) -> None:
        got, began, cpu = 0, time.monotonic(), time.process_time()
        while data := await stream.read():
            got += len(data)
            if rate and (ahead := got / rate - (time.monotonic() - began)) > 0:
                await asyncio.sleep(ahead)
        cpu = time.process_time() - cpu
        stream.end({"bytes": str(got), "cpu": str(cpu), "peak": str(peak_mb())})

    await node.run(drain=0)


async def write(name: str, total: int) -> dict[str, float]:
    """Write so many bytes into it; what came of it."""
    async with mesh.AsyncNode(mesh=name, discovery=("local",)) as node:
        await node.wait_for("sink", timeout=START_SECONDS)
        async with await node.open_stream("sink") as stream:
            began, cpu = time.monotonic(), time.process_time()
            left = total
            while left:
                part = CHUNK if left >= len(CHUNK) else CHUNK[:left]
                await stream.write(part)
                left -= len(part)
            stream.end()
            while await stream.read():
                continue
            seconds, cpu = time.monotonic() - began, time.process_time() - cpu
            told = stream.trailers or {}
    return {
        "bytes": int(told["bytes"]),
        "seconds": seconds,
        "writer": peak_mb(),
        "writer_cpu": cpu,
        "reader": float(told["peak"]),
        "reader_cpu": float(told["cpu"]),
    }


def run_stream(what: str, total: int, rate: float) -> bool:
    """In two processes, which end with it."""
    name = f"tunnels-{uuid.uuid4().hex[:12]}"
    command = [sys.executable, "-m", "benchmarks.tunnels", "--name", name]
    reader = subprocess.Popen([*command, "--read", str(rate)])
    try:
        done = subprocess.run(
            [*command, "--write", str(total)], stdout=subprocess.PIPE, text=True, check=True
        )
    finally:
        reader.terminate()
        reader.wait()
    told = json.loads(done.stdout)
    print(
        f"{what:<8} {told['bytes'] / 1e9:>6.2f} GB {told['bytes'] / told['seconds'] / MB:>7.0f} "
        f"MB/s   {side('writer', told['writer_cpu'], total, told['writer'])}; "
        f"{side('reader', told['reader_cpu'], total, told['reader'])}",
        flush=True,
    )
    return bool(told["bytes"] == total and max(told["writer"], told["reader"]) <= MEMORY_MB)


# A TCP connection, straight and through the mesh.


def _send(listener: socket.socket, total: int) -> None:
    connection, _ = listener.accept()
    with connection:
        left = total
        while left:
            part = CHUNK if left >= len(CHUNK) else CHUNK[:left]
            connection.sendall(part)
            left -= len(part)


def _receive(port: int) -> tuple[int, float]:
    began, got = time.monotonic(), 0
    buffer = bytearray(RECEIVE_BYTES)
    with socket.create_connection(("127.0.0.1", port)) as connection:
        while count := connection.recv_into(buffer):
            got += count
    return got, time.monotonic() - began


def serve_tcp(total: int) -> None:
    """Give ``total`` bytes to who connects, once; prints its port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(listener.getsockname()[1], flush=True)
        _send(listener, total)


@contextlib.contextmanager
def source(total: int) -> Iterator[int]:
    """The port of a TCP server in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.tunnels", "--serve-tcp", str(total)]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        yield int(server.stdout.readline())
    finally:
        server.kill()
        server.wait()


@contextlib.contextmanager
def tunnel(port: int) -> Iterator[tuple[int, list[int]]]:
    """The port that leads to ``port`` through two processes of meshctl, and their pids."""
    environment = os.environ | {"MESH_NAME": f"tunnels-{uuid.uuid4().hex[:12]}"}
    meshctl = [sys.executable, "-m", "mesh.cli"]
    ends = [
        subprocess.Popen(
            [*meshctl, *words, "--json"], env=environment, stdout=subprocess.PIPE, text=True
        )
        for words in (["expose", "source", str(port)], ["forward", "0", "source"])
    ]
    try:
        for end in ends:
            assert end.stdout is not None
            address = json.loads(end.stdout.readline())["address"]
            threading.Thread(target=end.stdout.read, daemon=True).start()
        yield int(address.rpartition(":")[2]), [end.pid for end in ends]
    finally:
        for end in ends:
            end.terminate()
            end.wait()


def run_tcp(total: int) -> bool:
    """Direct, then forwarded."""
    with source(total) as port:
        got, seconds = _receive(port)
    print(f"direct   {got / 1e9:>6.2f} GB {got / seconds / MB:>7.0f} MB/s", flush=True)
    with source(total) as port, tunnel(port) as (end, pids):
        time.sleep(1)  # until the forwarder knows the service
        before = [cpu_seconds(pid) for pid in pids]
        through, seconds = _receive(end)
        sides = [
            side(name, cpu_seconds(pid) - cpu, total, peak_mb(pid))
            for name, pid, cpu in zip(("expose", "forward"), pids, before, strict=True)
        ]
    print(
        f"forward  {through / 1e9:>6.2f} GB {through / seconds / MB:>7.0f} MB/s   "
        f"{'; '.join(sides)}",
        flush=True,
    )
    return got == through == total


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tunnels", description=__doc__)
    parser.add_argument("--gigabytes", type=float, default=1.0, help="default 1")
    parser.add_argument("--rate", type=float, default=50.0, help="MB/s of the slow reader")
    parser.add_argument("--seconds", type=float, default=20.0, help="of the slow reader")
    parser.add_argument(
        "--only", nargs="+", choices=("stream", "slow", "tcp"), default=("stream", "slow", "tcp")
    )
    for hidden in ("--name", "--read", "--write", "--serve-tcp"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.read is not None:
        asyncio.run(read(arguments.name, float(arguments.read)))
        return 0
    if arguments.write is not None:
        print(json.dumps(asyncio.run(write(arguments.name, int(arguments.write)))))
        return 0
    if arguments.serve_tcp is not None:
        serve_tcp(int(arguments.serve_tcp))
        return 0
    total = int(arguments.gigabytes * 1e9)
    rate = arguments.rate * MB
    is_good = True
    if "stream" in arguments.only:
        is_good &= run_stream("stream", total, 0)
    if "slow" in arguments.only:
        is_good &= run_stream("slow", int(rate * arguments.seconds), rate)
    if "tcp" in arguments.only:
        is_good &= run_tcp(total)
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
