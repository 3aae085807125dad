"""Reading and writing `host:port`.

One spelling everywhere: `name:port`, `1.2.3.4:port`, `[2001:db8::1]:port`. IP addresses come out
in their shortest form, so that two spellings of one address are one address. Nothing is looked up
in the DNS here.
"""

import ipaddress
import re

MAX_PORT = 65_535
MAX_HOST_NAME = 253
"""Characters of a DNS name (RFC 1035, without the final dot)."""

MAX_ADDRESS = MAX_HOST_NAME + len(".:65535")
"""Characters of an address: a longer text is none, and is not repeated in what is said of it."""

_LABEL = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
_SCOPE = re.compile(r"[A-Za-z0-9_.-]{1,32}")
_SERVICE = re.compile(r"_[A-Za-z0-9-]{1,62}\._(tcp|udp)\..+")


def is_service_name(text: str) -> bool:
    """Whether it is a name of SRV records (RFC 2782): `_service._tcp.domain`, without a port."""
    host = text.removesuffix(".")
    is_one = bool(_SERVICE.fullmatch(host)) and len(host) <= MAX_HOST_NAME
    return is_one and all(_LABEL.fullmatch(label) for label in host.split("."))


def is_ip_literal(host: str) -> bool:
    """Whether it is an address and not a name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def format_address(host: str, port: int) -> str:
    """`host` and `port` as one text that `parse_address` reads back; IPv6 gets its brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def parse_address(text: str) -> tuple[str, int]:
    """Split `host:port` into the host (without brackets) and the port.

    Space around it is ignored. Raises `ValueError` with a message that says what is wrong with it:
    no port, a port outside 1..65535, IPv6 without brackets, or no possible host.
    """
    text = text.strip()
    if len(text) > MAX_ADDRESS:
        raise ValueError(f"{text[:60]!r}... has {len(text)} characters: no address is that long")
    if "://" in text:
        raise ValueError(f"{text!r}: leave out {text.split('://')[0]}://, only host:port is needed")
    host, colon, port = text.rpartition(":")
    if not colon or text.endswith("]"):
        raise ValueError(f"{text!r} has no port: write host:port")
    if host.startswith("["):
        return _bracketed(text, host), _port(text, port)
    if ":" in host:
        raise ValueError(f"{text!r}: an IPv6 address goes in brackets: [address]:port")
    return _plain(text, host), _port(text, port)


def _port(text: str, port: str) -> int:
    if not port:
        raise ValueError(f"{text!r} has no port: write host:port")
    # isdecimal() alone lets other scripts' digits through, which int() would read.
    if not (port.isascii() and port.isdecimal()):
        raise ValueError(f"{text!r}: port {port!r} is not a number")
    # A long run of digits is out of range already; int() of it could be slow, or refuse.
    number = int(port) if len(port) <= len(str(MAX_PORT)) else MAX_PORT + 1
    if not 1 <= number <= MAX_PORT:
        raise ValueError(f"{text!r}: port {port} is outside 1..{MAX_PORT}")
    return number


def _bracketed(text: str, host: str) -> str:
    if not host.endswith("]"):
        raise ValueError(f"{text!r}: brackets hold an IPv6 address: [address]:port")
    inner = host[1:-1]
    try:
        address = ipaddress.IPv6Address(inner)
    except ValueError:
        raise ValueError(f"{text!r}: {inner!r} is not an IPv6 address") from None
    if address.scope_id is not None and not _SCOPE.fullmatch(address.scope_id):
        raise ValueError(f"{text!r}: {address.scope_id!r} is not an interface name")
    return str(address)


def _plain(text: str, host: str) -> str:
    if not host:
        raise ValueError(f"{text!r} has no host: write host:port")
    labels = host.removesuffix(".").split(".")
    if labels[-1].isdecimal():
        # Names do not end in a number, so this was meant as an address (RFC 3696 section 2).
        try:
            return str(ipaddress.IPv4Address(host))
        except ValueError:
            raise ValueError(f"{text!r}: {host!r} is not an IPv4 address") from None
    if len(host) > MAX_HOST_NAME or not all(_LABEL.fullmatch(label) for label in labels):
        raise ValueError(f"{text!r}: {host!r} is neither a host name nor an IP address")
    return host
