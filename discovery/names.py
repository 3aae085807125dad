"""Looking names up, again and again: A and AAAA by the system's resolver, SRV by dnspython.

What changes behind a name (a headless service of Kubernetes, a pool) is what a mesh wants to know,
so all names are asked for every few seconds. The system's resolver (`getaddrinfo`) knows the hosts
file, search domains and mDNS, and blocks; so it runs in a thread. That thread is the one thing here
that may outlive `close`, by the resolver's own time-out (seconds), for nobody can interrupt it: it
is a daemon, holds nothing, and tells nobody.
"""

import asyncio
import socket
import threading
from collections.abc import Callable, Iterable

from discovery.address import format_address, is_service_name, parse_address

INTERVAL = 5.0
"""Seconds between two rounds. DNS servers and their caches answer thousands of these a second."""

LOOKUP_TIMEOUT = 3.0
"""Seconds for the answer to a question for SRV records."""

MAX_ADDRESSES = 1_024
"""Addresses taken from the answers to one name: the size of mesh that this is made for."""

Answer = tuple[str, ...] | str
"""The addresses (`host:port`) behind a name, or why there are none."""


class Names:
    """Asks for `names` (`host:port` with a name, or `_service._tcp.domain`) until closed.

    `answered(name, answer)` is called on the running loop for each name in each round.
    """

    def __init__(
        self,
        names: Iterable[str],
        answered: Callable[[str, Answer], None],
        interval: float = INTERVAL,
    ) -> None:
        self._names = tuple(names)
        self._answered = answered
        self._interval = interval
        self._loop = asyncio.get_running_loop()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._ask, name="discovery-names", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Ask no more, tell nothing more. Idempotent."""
        self._over.set()
        # Nearly always it waits for its next round, and ends at once.
        self._thread.join(0.05)

    def _ask(self) -> None:
        while not self._over.is_set():
            for name in self._names:
                answer = look_up(name)
                if self._over.is_set():
                    return
                try:
                    self._loop.call_soon_threadsafe(self._tell, name, answer)
                except RuntimeError:
                    return  # the loop ended before anybody closed this
            self._over.wait(self._interval)

    def _tell(self, name: str, answer: Answer) -> None:
        if not self._over.is_set():
            self._answered(name, answer)


def look_up(name: str) -> Answer:
    """The addresses behind a name now, or why there are none. Blocks for seconds at worst."""
    if is_service_name(name):
        return _services(name)
    host, port = parse_address(name)
    return _hosts(host, port)


def _hosts(host: str, port: int) -> Answer:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        return f"{host}: {why}"
    addresses = dict.fromkeys(format_address(str(a[4][0]), port) for a in found)
    return tuple(addresses)[:MAX_ADDRESSES]


def _services(name: str) -> Answer:
    try:
        import dns.exception
        import dns.resolver
    except ImportError:
        return f"{name}: SRV records need dnspython: pip install 'mesh-p2p[dns]'"
    try:
        # Made anew in each round, as the resolvers of a laptop change with its networks.
        resolver = dns.resolver.Resolver()
        records = list(resolver.resolve(name, "SRV", lifetime=LOOKUP_TIMEOUT, search=True))
    except (dns.exception.DNSException, OSError) as error:
        return f"{name}: {error}"
    records.sort(key=lambda record: (record.priority, -record.weight))
    found: list[str] = []
    problems = []
    for record in records[:MAX_ADDRESSES]:
        answer = _hosts(record.target.to_text(omit_final_dot=True), record.port)
        if isinstance(answer, str):
            problems.append(answer)
        else:
            found += answer
    if problems and not found:
        return "; ".join(problems[:3])
    return tuple(dict.fromkeys(found))[:MAX_ADDRESSES]
