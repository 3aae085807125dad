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
        key = key or _env("MESH_KEY")
        if insecure is None:
            insecure = _env_bool("MESH_INSECURE")
        host = host or _env("MESH_HOST")
        if host is None:
            host = "0.0.0.0" if key or insecure else "127.0.0.1"
        elif not is_loopback(host) and not key and not insecure:
            raise ConfigError(
                f"host={host!r} is on the network and there is no key: anybody there could join; "
                "give key='some words', or say insecure=True"
            )
        if not isinstance(port, int) or not 0 <= port < 65536:
            raise ConfigError(f"port {port!r} is no port")
        return cls(
            id=id,
            name=f"anon-{id.hex()[:8]}" if name is None else check_name("node", name),
            mesh=mesh,
            key=key,
            host=host,
            port=port,
            seeds=_seeds(seeds),
            discovery=_sources(discovery),
            tags=dict(tags or {}),
            is_observer=observer,
        )

    @property
    def is_loopback_only(self) -> bool:
        return is_loopback(self.host)


def _env(name: str) -> str | None:
    return os.environ.get(name) or None


def _env_bool(name: str) -> bool:
    text = (_env(name) or "0").strip().lower()
    if text not in _TRUE | _FALSE:
        raise ConfigError(f"{name}={text!r}: write 1 or 0")
    return text in _TRUE


def _seeds(seeds: Iterable[str]) -> tuple[str, ...]:
    if isinstance(seeds, str):
        raise ConfigError(f"seeds={seeds!r}: give a list of 'host:port', not one string")
    given = tuple(seeds) or tuple((_env("MESH_SEEDS") or "").replace(",", " ").split())
    for seed in given:
        try:
            parse_address(seed)
        except ValueError as error:
            raise ConfigError(f"seed: {error}") from None
    return given


def _sources(discovery: Iterable[str]) -> tuple[str, ...]:
    if isinstance(discovery, str):
        raise ConfigError(f"discovery={discovery!r}: give a list of source names, not one string")
    names = tuple(discovery)
    if unknown := [name for name in names if name not in SOURCES]:
        raise ConfigError(
            f"unknown discovery source {unknown[0]!r}; there are: {', '.join(SOURCES)}"
        )
    return names
