"""A web server for tests: ``python -m tests.multihost.webserver PORT TOGETHER``.

``/7`` is answered by ``body_of(7)``, but only when ``TOGETHER`` requests are open at once.
"""

from __future__ import annotations

import hashlib
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

__all__ = ["body_of"]

BODY_TIMES = 4000
SECONDS = 60.0


def body_of(number: int) -> bytes:
    """128 kB that are nobody else's."""
    return hashlib.sha256(str(number).encode()).digest() * BODY_TIMES


class Server(ThreadingHTTPServer):
    request_queue_size = 256
    daemon_threads = True
    together: threading.Barrier


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.together.wait(SECONDS)
        body = body_of(int(self.path[1:]))
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: who asks knows."""


def main() -> None:
    port, together = int(sys.argv[1]), int(sys.argv[2])
    with Server(("127.0.0.1", port), Handler) as server:
        server.together = threading.Barrier(together)
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        server.serve_forever()


if __name__ == "__main__":
    main()
