"""A node's settings: the argument, else the environment, else the default; checked at once.

===============  ==================  =======================================================
argument         environment         default
===============  ==================  =======================================================
``mesh``         ``MESH_NAME``       "mesh"
``key``          ``MESH_KEY``        none: loopback only
``insecure``     ``MESH_INSECURE``   false ("1", "true", "yes", "on" are true)
``host``         ``MESH_HOST``       127.0.0.1 without a key, else all interfaces
``seeds``        ``MESH_SEEDS``      none (separated by commas or blanks)
===============  ==================  =======================================================

An empty variable counts as unset.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from discovery.address import parse_address
from mesh.membership.record import check_tags
from mesh.security.keys import check_key
from mesh.transport.addresses import is_loopback
from patterns.errors import ConfigError
from patterns.names import check_name

__all__ = ["SOURCES", "Settings"]

SOURCES = ("mdns", "local", "exchange")
"""The discovery sources there are by name; seeds are used whenever some are given."""

DEFAULT_MESH = "mesh"
_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off"})


@dataclass(frozen=True, slots=True)
class Settings:
    """What a node is made with, complete and checked."""

    id: bytes
    name: str
    mesh: str
    key: str | None
    host: str
    port: int
    seeds: tuple[str, ...]
    discovery: tuple[str, ...]
    tags: Mapping[str, str]
    is_observer: bool

    @classmethod
    def make(
        cls,
        name: str | None,
        *,
        mesh: str | None,
        key: str | None,
        insecure: bool | None,
        host: str | None,
        port: int,
        seeds: Iterable[str],
        discovery: Iterable[str],
        tags: Mapping[str, str] | None,
        observer: bool,
    ) -> Settings:
        """Raises BadName and ConfigError for what cannot work."""
        id = secrets.token_bytes(16)
        mesh = check_name("mesh", mesh or _env("MESH_NAME") or DEFAULT_MESH)
        key = _key(key)
        if insecure is None:
            insecure = _env_bool("MESH_INSECURE")
        return cls(
            id=id,
            name=f"anon-{id.hex()[:8]}" if name is None else check_name("node", name),
            mesh=mesh,
            key=key,
            host=_host(host, bool(key or insecure)),
            port=_port(port),
            seeds=_seeds(seeds),
            discovery=_sources(discovery),
            tags=check_tags(tags),
            is_observer=bool(observer),
        )

    @property
    def is_loopback_only(self) -> bool:
        return is_loopback(self.host)


def _env(name: str) -> str | None:
    return os.environ.get(name, "").strip() or None


def _key(key: object) -> str | None:
    if key is None or (isinstance(key, str) and not key.strip()):
        key = _env("MESH_KEY")
    if key is None:
        return None
    if not isinstance(key, str):
        raise ConfigError(f"key must be a str (a passphrase or a generated key), not {key!r:.20}")
    check_key(key)
    return key


def _host(host: object, may_be_on_network: bool) -> str:
    if host is None:
        host = _env("MESH_HOST")
    if host is None:
        return "0.0.0.0" if may_be_on_network else "127.0.0.1"
    if not isinstance(host, str) or not host.strip():
        raise ConfigError(f"host={host!r}: give an address of this machine")
    host = host.strip().strip("[]")
    if not may_be_on_network and not is_loopback(host):
        raise ConfigError(
            f"host={host!r} is on the network and there is no key: anybody there could join; "
            "give key='some words', or say insecure=True"
        )
    return host


def _port(port: object) -> int:
    if type(port) is not int or not 0 <= port < 65536:
        raise ConfigError(f"port={port!r} is no port")
    return port


def _env_bool(name: str) -> bool:
    text = (_env(name) or "0").strip().lower()
    if text not in _TRUE | _FALSE:
        raise ConfigError(f"{name}={text!r}: write 1 or 0")
    return text in _TRUE


def _seeds(seeds: Iterable[str]) -> tuple[str, ...]:
    if isinstance(seeds, str) or not isinstance(seeds, Iterable):
        raise ConfigError(f"seeds={seeds!r}: give a list of 'host:port'")
    given = tuple(seeds) or tuple((_env("MESH_SEEDS") or "").replace(",", " ").split())
    for seed in given:
        if not isinstance(seed, str):
            raise ConfigError(f"seed {seed!r}: give 'host:port'")
        try:
            parse_address(seed)
        except ValueError as error:
            raise ConfigError(f"seed: {error}") from None
    return given


def _sources(discovery: Iterable[str]) -> tuple[str, ...]:
    if isinstance(discovery, str) or not isinstance(discovery, Iterable):
        raise ConfigError(f"discovery={discovery!r}: give a list of source names")
    names = tuple(discovery)
    if unknown := [name for name in names if name not in SOURCES]:
        raise ConfigError(
            f"unknown discovery source {unknown[0]!r}; there are: {', '.join(SOURCES)}"
        )
    return names
