"""A node's settings: the argument, else the environment, else the default; checked at once.

=====================  ==========================  =========================================
argument               environment                 default
=====================  ==========================  =========================================
``mesh``               ``MESH_NAME``               "mesh"
``key``                ``MESH_KEY``                none: loopback only
``identity``           ``MESH_IDENTITY``           none; a file, which has ``mesh`` and ``key``
``key_file``           ``MESH_KEY_FILE``           none: a file with the key
``insecure``           ``MESH_INSECURE``           false ("1", "true", "yes", "on" are true)
``host``               ``MESH_HOST``               127.0.0.1 without a key, else all
``seeds``              ``MESH_SEEDS``              none (separated by commas or blanks)
``interfaces``         ``MESH_INTERFACES``         chosen by rule (separated likewise)
``plain``              ``MESH_PLAIN``              false (true, or two ports: "5556,5557")
``max_payload_bytes``  ``MESH_MAX_PAYLOAD_BYTES``  64 MiB
``policy``             ``MESH_POLICY`` (a file)    none: members may do all
``metrics_port``       ``MESH_METRICS_PORT``       none; a port, or "host:port"
``allow``              ``MESH_ALLOW``              inspect, operate; insecure: inspect alone
``tracing``            ``MESH_TRACING``            takes part in traces (true, false)
=====================  ==========================  =========================================

An empty variable counts as unset. An identity that is given as an argument goes before MESH_NAME
and MESH_KEY; all else that is given beside an identity, and says something else, is an error.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias

from discovery import Source, check_wanted, is_service_name, parse_address
from mesh.engine.config import MAX_PAYLOAD_BYTES
from mesh.key_settings import IdentityInput, KeySettings, env
from mesh.membership.record import check_instance, check_tags, check_weight
from mesh.security.identity import Identity
from mesh.security.policy import Policy
from mesh.tracing import TracingInput, check_tracing
from mesh.transport.addresses import is_loopback
from patterns.errors import BadName, ConfigError
from patterns.names import RESERVED_TOKEN, check_name

__all__ = ["ALLOWED", "SOURCES", "PolicyInput", "Settings", "check_has_identity"]

SOURCES = ("mdns", "local", "exchange")
"""The discovery sources there are by name; seeds are used whenever some are given."""

ALLOWED = ("inspect", "operate", "tap")
"""What others can be let do with a node: see how it is; drain it and set its log level; see what
goes through it."""

FILE = "file:"
"""Begins a seed that is a file of seeds."""

MIN_PAYLOAD_BYTES = 256 * 1024
"""What fits a frame of the link takes no parcel and needs no limit."""

MOST_PAYLOAD_BYTES = 1024 * 1024 * 1024
"""Both ends keep a payload whole, several times over: more is a job for a file server."""

PolicyInput: TypeAlias = str | os.PathLike[str] | Policy | None
"""How a policy is given: its file, or itself."""

_SOURCE_NAMES = ", ".join(SOURCES)
_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off"})


@dataclass(frozen=True, slots=True)
class Settings:
    """What a node is made with, complete and checked."""

    id: bytes
    name: str
    mesh: str
    keys: KeySettings
    host: str
    port: int
    seeds: tuple[str, ...]
    discovery: tuple[str | Source, ...]
    interfaces: tuple[str, ...]
    tags: Mapping[str, str]
    instance: str
    weight: float
    is_observer: bool
    plain: tuple[int, int] | None
    """The ports for plain ZeroMQ clients, requests and subscriptions; 0 is any free one."""
    max_payload_bytes: int
    """Of a packed message, call, reply or groupcast, sent or taken."""
    policy: Policy | None = None
    """Who may do what here; None: members may do all."""
    metrics: tuple[str, int] | None = None
    """Where metrics and health are served: a host and a port, 0 for any free one."""
    allow: frozenset[str] = frozenset()
    """Of ``ALLOWED``, what others may do with this node itself."""
    tracing: TracingInput = None
    """None, whether to trace, or a provider: see ``mesh.tracing``."""

    @classmethod
    def make(
        cls,
        name: str | None,
        *,
        mesh: str | None,
        key: str | None,
        key_file: str | os.PathLike[str] | None = None,
        insecure: bool | None,
        host: str | None,
        port: int,
        seeds: Iterable[str],
        discovery: Iterable[str | Source],
        interfaces: Iterable[str],
        tags: Mapping[str, str] | None,
        instance: str | None,
        weight: float,
        observer: bool,
        plain: bool | tuple[int, int] | None,
        max_payload_bytes: int | None,
        identity: IdentityInput = None,
        policy: PolicyInput = None,
        allow: Iterable[str] | None = None,
        metrics_port: int | str | None = None,
        tracing: TracingInput = None,
    ) -> Settings:
        """Raises BadName and ConfigError for what cannot work."""
        keys = KeySettings.make(mesh, key, key_file, identity)
        id = keys.new_id()
        if insecure is None:
            insecure = _env_bool("MESH_INSECURE")
        host = _host(host, bool(keys or insecure))
        return cls(
            id=id,
            name=f"anon-{id.hex()[:8]}" if name is None else _name(name),
            mesh=keys.mesh,
            keys=keys,
            host=host,
            port=_port(port),
            seeds=_seeds(seeds),
            discovery=_sources(discovery),
            interfaces=_interfaces(interfaces),
            tags=check_tags(tags),
            instance=id.hex() if instance is None else check_instance(instance),
            weight=check_weight(weight),
            is_observer=bool(observer),
            plain=_plain(plain, bool(observer)),
            max_payload_bytes=_max_payload_bytes(max_payload_bytes),
            policy=_policy(policy),
            metrics=_metrics(metrics_port, host, bool(observer)),
            allow=_allow(allow, is_open=bool(insecure and not keys)),
            tracing=_tracing(tracing),
        )

    def with_fresh_id(self) -> Settings:
        """The same settings for another node; a name that was drawn with the id stays."""
        keys = self.keys.renewed()
        id = keys.new_id()
        is_drawn = self.instance == self.id.hex()
        return replace(self, keys=keys, id=id, instance=id.hex() if is_drawn else self.instance)

    @property
    def title(self) -> str:
        """The node in a log: "calc/1a2b3c4d"."""
        return f"{self.name}/{self.id.hex()[:8]}"

    @property
    def is_loopback_only(self) -> bool:
        return is_loopback(self.host)


def check_has_identity(policy: Policy | None, identity: Identity | None) -> None:
    """Raises ConfigError for a policy of a node that cannot say who it is.

    Others would deny it everything, and so would its own policy.
    """
    if policy is not None and identity is None:
        raise ConfigError("a policy needs identities: give identity=, see 'meshctl join'")


def _name(name: str) -> str:
    if check_name("node", name) == RESERVED_TOKEN:
        raise BadName(f"the name {name!r} is the mesh's own; choose another one")
    return name


def _allow(allow: object, *, is_open: bool) -> frozenset[str]:
    if allow is None:
        allow = _env_list("MESH_ALLOW") or ALLOWED[: 1 if is_open else 2]
    what = ", ".join(ALLOWED)
    if isinstance(allow, str) or not isinstance(allow, Iterable):
        raise ConfigError(f"allow={allow!r}: give a list of {what}")
    given = frozenset(allow)
    if unknown := given - {*ALLOWED, "nothing"}:
        raise ConfigError(f"allow: {', '.join(map(repr, unknown))} is none of: {what}; 'nothing'")
    return given - {"nothing"}


def _tracing(tracing: TracingInput) -> TracingInput:
    text = env("MESH_TRACING")
    if tracing is None and text is not None:
        return _bool("MESH_TRACING", text.lower())
    return check_tracing(tracing)


def _host(host: object, may_be_on_network: bool) -> str:
    if host is None:
        host = env("MESH_HOST")
    if host is None:
        return "*" if may_be_on_network else "127.0.0.1"
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
    return _bool(name, (env(name) or "0").lower())


def _bool(name: str, text: str) -> bool:
    if text not in _TRUE | _FALSE:
        raise ConfigError(f"{name}={text!r}: write 1 or 0")
    return text in _TRUE


def _plain(plain: object, is_observer: bool) -> tuple[int, int] | None:
    if plain is None and is_observer:
        # An environment is for all programs of a machine, and meshctl is an observer.
        return None
    if plain is None:
        text = (env("MESH_PLAIN") or "0").lower()
        ports = text.replace(",", " ").split()
        is_ports = len(ports) == 2 and all(port.isdecimal() for port in ports)
        plain = tuple(map(int, ports)) if is_ports else _bool("MESH_PLAIN", text)
    if plain is False:
        return None
    if is_observer:
        raise ConfigError("plain clients give work, and an observer takes none; choose one")
    if plain is True:
        return 0, 0
    if not isinstance(plain, tuple | list) or len(plain) != 2:
        raise ConfigError(f"plain={plain!r}: give True, or two ports: (5556, 5557)")
    rpc, pubsub = map(_port, plain)
    if rpc and rpc == pubsub:
        raise ConfigError(f"plain={plain!r}: requests and subscriptions need a port each")
    return rpc, pubsub


def _metrics(place: object, host: str, is_observer: bool) -> tuple[str, int] | None:
    if place is None and not is_observer:  # an environment is for meshctl as well
        place = env("MESH_METRICS_PORT")
    if place is None:
        return None
    if isinstance(place, str) and place.isdecimal():
        place = int(place)
    if type(place) is int and 0 <= place < 65536:
        found = host, place
    else:
        try:
            found = parse_address(str(place))
        except ValueError:
            raise ConfigError(
                f"metrics_port={place!r:.60}: give a port, 0 for any free one, or 'host:port'"
            ) from None
    # Now, and not when it starts: the package may be missing.
    from mesh.metrics.exporter import load_library

    load_library()
    return found


def _max_payload_bytes(limit: object) -> int:
    if limit is None:
        text = env("MESH_MAX_PAYLOAD_BYTES") or str(MAX_PAYLOAD_BYTES)
        limit = int(text) if text.isdecimal() else text
    if type(limit) is not int or not MIN_PAYLOAD_BYTES <= limit <= MOST_PAYLOAD_BYTES:
        raise ConfigError(
            f"max_payload_bytes={limit!r}: give a number from {MIN_PAYLOAD_BYTES} to "
            f"{MOST_PAYLOAD_BYTES}"
        )
    return limit


def _policy(policy: object) -> Policy | None:
    if policy is None or (isinstance(policy, str) and not policy.strip()):
        policy = env("MESH_POLICY")
    if policy is None or isinstance(policy, Policy):
        return policy
    if isinstance(policy, str | os.PathLike):
        return Policy.load(os.fspath(policy))
    raise ConfigError(f"policy={policy!r:.60}: give the path of a policy file, or a mesh.Policy")


def _seeds(seeds: Iterable[str]) -> tuple[str, ...]:
    if isinstance(seeds, str) or not isinstance(seeds, Iterable):
        raise ConfigError(f"seeds={seeds!r}: give a list of 'host:port'")
    given = tuple(seeds) or _env_list("MESH_SEEDS")
    for seed in given:
        if not isinstance(seed, str):
            raise ConfigError(f"seed {seed!r}: give 'host:port'")
        if seed == FILE:
            raise ConfigError(f"seed {seed!r}: say which file, as in 'file:/etc/mesh/seeds'")
        if seed.startswith(FILE) or is_service_name(seed):
            continue
        try:
            parse_address(seed)
        except ValueError as error:
            raise ConfigError(f"seed: {error}") from None
    return given


def _env_list(name: str) -> tuple[str, ...]:
    return tuple((env(name) or "").replace(",", " ").split())


def _sources(discovery: Iterable[str | Source]) -> tuple[str | Source, ...]:
    if isinstance(discovery, str) or not isinstance(discovery, Iterable):
        raise ConfigError(f"discovery={discovery!r}: give a list of source names")
    given = tuple(discovery)
    for source in given:
        if isinstance(source, str) and source not in SOURCES:
            raise ConfigError(f"unknown discovery source {source!r}; there are: {_SOURCE_NAMES}")
        if not isinstance(source, str | Source):
            raise ConfigError(
                f"discovery: {source!r:.60} is neither a name ({_SOURCE_NAMES}) nor a "
                "discovery.Source: it lacks name, state, start, update or close"
            )
    return given


def _interfaces(interfaces: Iterable[str]) -> tuple[str, ...]:
    if not isinstance(interfaces, Iterable):
        raise ConfigError(f"interfaces={interfaces!r}: give a list of names or addresses")
    try:
        return check_wanted(interfaces) or check_wanted(_env_list("MESH_INTERFACES"))
    except ValueError as error:
        raise ConfigError(f"interfaces: {error}") from None
