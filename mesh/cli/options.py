"""The options that every command takes, and the node they make.

They may stand before the command, after it, or both; the later one wins, seeds and interfaces add
up. What is
not given comes from the environment, then from the profile, then from the defaults of the API.
Each is gathered into one ``Options`` by a callback, so that commands do not list them as
parameters.

Surprise: ``call``, ``iterate``, ``groupcast`` and ``forward`` have a ``--key`` of their own, the
key whose owner is meant. For these the mesh's key can only stand before the command, and they take
the options from ``mesh_options_beside_key``.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import click

import mesh
from discovery import check_wanted
from mesh.cli import errors
from mesh.cli.completion import complete_profiles
from mesh.cli.profiles import Profile, config_path, is_readable_by_others, load
from mesh.key_settings import DEFAULT_MESH
from mesh.security.key_files import read_keys

__all__ = [
    "OWN_NAME",
    "Options",
    "json_option",
    "mesh_options",
    "mesh_options_beside_key",
    "pass_options",
    "variable",
]

F = TypeVar("F", bound=Callable[..., Any])

DEFAULT_TIMEOUT = 5.0
"""Seconds, as in the verbs of the API."""

OWN_NAME = "meshctl"
"""What handlers see as the sender's or caller's name."""


@dataclass
class Options:
    """What the mesh options came to."""

    mesh_name: str | None = None
    mesh_key: str | None = None
    key_file: str | None = None
    seed: list[str] = field(default_factory=list)
    interface: list[str] = field(default_factory=list)
    seconds: float | None = None
    host: str | None = None
    insecure: bool | None = None
    identity_path: str | None = None
    profile_name: str | None = None

    @cached_property
    def profile(self) -> Profile:
        """The profile in use, an empty one if there is none. Raises ConfigError."""
        return load(self.profile_name)

    @property
    def timeout(self) -> float:
        """Seconds to wait for an answer or for others."""
        for seconds in (self.seconds, self.profile.timeout):
            if seconds is not None:
                return seconds
        return DEFAULT_TIMEOUT

    @property
    def has_key(self) -> bool:
        """Whether any of the ways to give the mesh's key was used."""
        given = (self.mesh_key, self.key_file, self.profile.key, self.profile.key_file)
        is_set = _is_set("MESH_KEY") or _is_set("MESH_KEY_FILE")
        return self._has_identity or any(given) or is_set

    @property
    def _has_identity(self) -> bool:
        return self.identity_path is not None or _is_set("MESH_IDENTITY")

    @contextmanager
    def node(self, *, observer: bool = True) -> Iterator[mesh.Node]:
        """A started node; leaving says goodbye.

        Raises UsageError for a bad key file, ConfigError and BadName for other settings, OSError
        when the address is not to be had.
        """
        with mesh.Node(OWN_NAME, observer=observer, **self.settings()) as node:
            yield node

    def async_node(self, name: str = OWN_NAME, *, observer: bool = True) -> mesh.AsyncNode:
        """One for a loop of the command's own, not started. Raises as ``node``."""
        return mesh.AsyncNode(name, observer=observer, **self.settings())

    def settings(self) -> dict[str, Any]:
        """The arguments of ``mesh.Node``: from the options, else the profile.

        None where the environment goes before the profile: the node reads it. Raises as ``node``.
        """
        profile = self.profile
        # An identity has the mesh's name and key: it goes before what the profile says of them.
        of_profile = Profile() if self._has_identity else profile
        return {
            "mesh": _first(self.mesh_name, "MESH_NAME", of_profile.mesh),
            **self._keys(of_profile),
            "identity": self.identity_path,
            "insecure": _first(self.insecure, "MESH_INSECURE", profile.insecure),
            "host": _first(self.host, "MESH_HOST", profile.host),
            "seeds": _first(self.seed or None, "MESH_SEEDS", profile.seeds) or (),
            "interfaces": _first(self.interface or None, "MESH_INTERFACES", profile.interfaces)
            or (),
        }

    def _keys(self, profile: Profile) -> dict[str, str | None]:
        """``key`` and ``key_file`` as they were given; None leaves it to the environment."""
        if self.mesh_key is not None and self.key_file is not None:
            raise click.UsageError("--key and --key-file are both given; use one")
        key, path = self.mesh_key, self.key_file
        if key is not None and not key.strip():
            raise click.UsageError("--key is empty; 'meshctl keygen' makes one")
        if key is None and path is None and not (_is_set("MESH_KEY") or _is_set("MESH_KEY_FILE")):
            key, path = profile.key, profile.key_file
            if key is not None:
                _warn_if_open(config_path())
        if path is not None:
            _check_key_file(path)
        return {"key": key, "key_file": path}

    # What commands need that make no node.

    @property
    def resolved_mesh(self) -> str:
        """The name of the mesh. Raises ConfigError for an identity that cannot be read."""
        path = self.identity_path or variable("MESH_IDENTITY")
        if self.mesh_name is None and path:
            from mesh.security.identity_file import IdentityFile

            return IdentityFile.load(path).mesh
        return self.named_mesh

    @property
    def named_mesh(self) -> str:
        """The same, whatever identity is given."""
        return self.mesh_name or variable("MESH_NAME") or self.profile.mesh or DEFAULT_MESH

    @property
    def resolved_key(self) -> str | None:
        """The mesh's key; None when none was given. Raises UsageError for a bad key file."""
        given = self._keys(self.profile)
        path = given["key_file"] or variable("MESH_KEY_FILE")
        if given["key"] is None and path is not None:
            return read_keys(path).texts[0]
        return given["key"] or variable("MESH_KEY")

    @property
    def resolved_host(self) -> str | None:
        """The address to bind; None when none was given."""
        return self.host or variable("MESH_HOST") or self.profile.host

    @property
    def resolved_interfaces(self) -> Sequence[str]:
        """The network interfaces to search on; empty when none were given. Raises ConfigError."""
        listed = (variable("MESH_INTERFACES") or "").replace(",", " ").split()
        try:
            return check_wanted(self.interface or listed or self.profile.interfaces or ())
        except ValueError as error:
            raise mesh.ConfigError(f"interfaces: {error}") from None


pass_options = click.make_pass_decorator(Options)


def variable(name: str) -> str | None:
    """What an environment variable says; an empty one says nothing."""
    return os.environ.get(name, "").strip() or None


def _is_set(name: str) -> bool:
    return variable(name) is not None


def _first(given: Any, name: str, in_profile: Any) -> Any:
    """What goes first. None leaves it to the environment, which the node reads itself."""
    return in_profile if given is None and not _is_set(name) else given


def _check_key_file(path: str) -> None:
    """Raises UsageError when there is no key to read in it."""
    try:
        read_keys(path)
    except mesh.ConfigError as error:
        raise click.UsageError(str(error)) from None
    _warn_if_open(Path(path))


def _warn_if_open(path: Path) -> None:
    if is_readable_by_others(path):
        errors.note(f"{path} holds the mesh's key and others can read it: chmod 600 {path}")


def _gather(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    """Keep a value that was given; those of the command come after those before it."""
    options = context.ensure_object(Options)
    if value is None or parameter.name is None:
        return
    if parameter.name in ("seed", "interface"):
        getattr(options, parameter.name).extend(value)
    else:
        setattr(options, parameter.name, value)


def _check_seconds(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    if value is not None and not (math.isfinite(value) and value >= 0):
        raise click.BadParameter("give seconds, 0 or more", context, parameter)
    _gather(context, parameter, value)


def _option(*names: str, **settings: Any) -> Callable[[F], F]:
    return click.option(*names, expose_value=False, **{"callback": _gather, **settings})


_KEY = _option(
    "--key",
    "mesh_key",
    metavar="WORDS",
    help="The mesh's key itself. Other users of this machine can see it in 'ps': "
    "--key-file and MESH_KEY are safer.",
)

_OPTIONS = (
    _option(
        "--mesh",
        "mesh_name",
        metavar="NAME",
        help="The mesh to join (MESH_NAME; default: mesh).",
    ),
    _KEY,
    _option(
        "--key-file",
        metavar="PATH",
        type=click.Path(),
        help="File whose first line is the mesh's key (or the key itself in MESH_KEY).",
    ),
    _option(
        "--identity",
        "identity_path",
        metavar="PATH",
        type=click.Path(),
        help="This machine's identity file, which has the mesh's name and key (MESH_IDENTITY).",
    ),
    _option(
        "--seed",
        metavar="HOST:PORT",
        multiple=True,
        help="A node to dial where multicast does not reach; may be repeated (MESH_SEEDS).",
    ),
    _option(
        "--interface",
        metavar="NAME",
        multiple=True,
        help="A network interface to search on, by name, address or network; may be repeated "
        "(MESH_INTERFACES; default: those that are no VPN's and no container's).",
    ),
    _option(
        "--timeout",
        "seconds",
        metavar="SECONDS",
        type=float,
        callback=_check_seconds,
        help=f"Longest wait for an answer or for others. Default: {DEFAULT_TIMEOUT:g}.",
    ),
    _option(
        "--insecure",
        is_flag=True,
        flag_value=True,
        default=None,
        help="Go on the network without a key (MESH_INSECURE).",
    ),
    _option("--host", metavar="ADDRESS", help="The address to bind (MESH_HOST)."),
    _option(
        "--profile",
        "profile_name",
        metavar="NAME",
        shell_complete=complete_profiles,
        help="Take what is not given from this profile of the config file (MESH_PROFILE).",
    ),
)


def mesh_options(function: F) -> F:
    """Add the options of the mesh to a command."""
    return _add(_OPTIONS, function)


def mesh_options_beside_key(function: F) -> F:
    """The same for a command whose own ``--key`` is another one: the mesh's stands before it."""
    return _add([option for option in _OPTIONS if option is not _KEY], function)


def _add(options: Sequence[Callable[[F], F]], function: F) -> F:
    for add in reversed(options):
        function = add(function)
    return function


def json_option(what: str) -> Callable[[F], F]:
    """``--json``, which prints ``what``."""
    return click.option("--json", "as_json", is_flag=True, help=f"Print {what}.")
