"""What a command, or a node, would be made with on this machine: each value, where it comes from,
and what is wrong with it.

Nothing is changed and nothing is started. Secrets are never shown: a key by its fingerprint.
"""

from __future__ import annotations

import contextlib
import io
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import click

import mesh
from discovery import is_ip_literal, is_service_name, parse_address
from mesh.cli import errors
from mesh.cli.certificates import day
from mesh.cli.options import DEFAULT_TIMEOUT, Options, variable
from mesh.cli.profiles import (
    Profile,
    config_path,
    is_readable_by_others,
    load,
    profile_names,
    used_profile,
)
from mesh.cli.text import count_of
from mesh.key_settings import DEFAULT_MESH
from mesh.security import MeshKey, Policy
from mesh.security.identity_file import IdentityFile
from mesh.security.key_files import read_keys
from mesh.settings import FILE

__all__ = [
    "HEADER",
    "KNOWN",
    "PROBLEM",
    "WARNING",
    "Finding",
    "Report",
    "Value",
    "check",
    "is_of_job",
]

PROBLEM, WARNING = "problem", "warning"

OF_JOB = ("MESH_JOB_ID", "MESH_JOB_KEY", "MESH_QUEUE", "MESH_ATTEMPTS")
HEADER = "MESH_HEADER_"

KNOWN = (
    "MESH_NAME",
    "MESH_KEY",
    "MESH_KEY_FILE",
    "MESH_IDENTITY",
    "MESH_SEEDS",
    "MESH_INTERFACES",
    "MESH_HOST",
    "MESH_INSECURE",
    "MESH_PLAIN",
    "MESH_MAX_PAYLOAD_BYTES",
    "MESH_POLICY",
    "MESH_ALLOW",
    "MESH_METRICS_PORT",
    "MESH_TRACING",
    "MESH_PROFILE",
    "MESH_CONFIG",
    "MESH_SIM_SEED",
    *OF_JOB,
    HEADER,
)
"""Every variable that is read anywhere in the packages."""

OF_NODES = (
    "MESH_PLAIN",
    "MESH_MAX_PAYLOAD_BYTES",
    "MESH_POLICY",
    "MESH_ALLOW",
    "MESH_METRICS_PORT",
    "MESH_TRACING",
)
"""Those that say nothing to meshctl itself."""

EXPIRES_SOON = 30 * 86_400
"""Seconds before the end of an identity from which on it is told: time to have it renewed."""

DEFAULT = "default"
NONE = "(none)"


@dataclass(frozen=True, slots=True)
class Value:
    """``origin`` is the option, the variable or the profile that says so, or "default"."""

    name: str
    value: str
    origin: str


@dataclass(frozen=True, slots=True)
class Finding:
    """``level`` is ``PROBLEM`` or ``WARNING``; ``where`` is what has to be changed."""

    level: str
    where: str
    text: str


@dataclass(slots=True)
class Report:
    """All of it."""

    values: list[Value] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    of_profile: str = "profile"
    """The origin of what the profile in use says."""

    def problem(self, where: str, text: str) -> None:
        self._add(PROBLEM, where, text)

    def warn(self, where: str, text: str) -> None:
        self._add(WARNING, where, text)

    def _add(self, level: str, where: str, text: str) -> None:
        # The profile in use is looked at as one of all, and as what it gives.
        if text not in [one.text for one in self.findings]:
            self.findings.append(Finding(level, where, text))

    def value_of(self, name: str) -> str:
        """What was found for a setting."""
        return next((one.value for one in self.values if one.name == name), NONE)

    @property
    def is_right(self) -> bool:
        return not any(one.level == PROBLEM for one in self.findings)


def check(
    options: Options,
    environment: Mapping[str, str],
    look_up: Callable[[str], Any] | None = None,
) -> Report:
    """Look at everything. ``look_up`` asks for the addresses behind a seed; None: nobody is asked.

    What it gives is the addresses, or a text that says why there are none.
    """
    report = Report()
    # What is used says of problems on stderr, as for any command; here they are in the report.
    with contextlib.redirect_stderr(io.StringIO()):
        profile = _profile(report, options)
        _variables(report, environment)
        given = {name: text for name, text in environment.items() if text.strip()}
        _keys(report, options, profile, given)
        _network(report, options, profile, given, look_up)
        _of_nodes(report, options, given)
        _together(report, options)
    return report


# The file and its profiles.


def _profile(report: Report, options: Options) -> Profile:
    path = config_path()
    origin = "MESH_CONFIG" if variable("MESH_CONFIG") else DEFAULT
    report.values.append(Value("config file", str(path) if path.exists() else NONE, origin))
    try:
        name, origin = used_profile(options.profile_name)
        used = options.profile
        names = profile_names()
    except mesh.ConfigError as error:
        report.problem(str(path), errors.plain(error))
        return Profile()
    report.values.append(Value("profile", name or NONE, origin))
    report.of_profile = f"profile {name}"
    for one in names:
        _check_profile(report, path, one)
    return used


def _check_profile(report: Report, path: Path, name: str) -> None:
    profile = load(name)
    where = f"{path}: profile {name}"
    if profile.key is not None and is_readable_by_others(path):
        report.problem(where, f"it holds the mesh's key and others can read it: chmod 600 {path}")
    if profile.key_file is not None:
        _check_key_file(report, where, profile.key_file)
    _check_seeds(report, where, profile.seeds or [])


# The environment.


def is_of_job(name: str) -> bool:
    """Whether a variable is what ``meshctl work`` gives to its programs, of any job."""
    return name in OF_JOB or name.startswith(HEADER)


def _variables(report: Report, environment: Mapping[str, str]) -> None:
    for name in sorted(environment):
        if not name.startswith("MESH_") or is_of_job(name):
            continue
        if name not in KNOWN:
            close = get_close_matches(name, KNOWN, 1, 0.8)
            if close:
                report.problem(name, f"nobody reads it; did you mean {close[0]}?")
            else:
                report.warn(name, "nobody here reads it")
        elif not environment[name].strip():
            report.warn(name, "it is empty, which is as if it was not set")
    if all(environment.get(name, "").strip() for name in ("MESH_KEY", "MESH_KEY_FILE")):
        report.warn("MESH_KEY_FILE", "MESH_KEY is set, too, and goes before it")


# Who we are, and in which mesh.


def _keys(report: Report, options: Options, profile: Profile, given: Mapping[str, str]) -> None:
    identity, origin = _first(
        (options.identity_path, "--identity"), (given.get("MESH_IDENTITY"), "MESH_IDENTITY")
    )
    if identity is not None:
        _identity(report, options, given, identity, origin)
        return
    report.values.append(Value("identity", NONE, DEFAULT))
    name, whence = _first(
        (options.mesh_name, "--mesh"),
        (given.get("MESH_NAME"), "MESH_NAME"),
        (profile.mesh, report.of_profile),
    )
    mesh_name = name or DEFAULT_MESH
    report.values.append(Value("mesh", mesh_name, whence))
    key, whence = _first(
        (options.mesh_key, "--key"),
        (_File.of(options.key_file), "--key-file"),
        (given.get("MESH_KEY"), "MESH_KEY"),
        (_File.of(given.get("MESH_KEY_FILE")), "MESH_KEY_FILE"),
        (profile.key, report.of_profile),
        (_File.of(profile.key_file), report.of_profile),
    )
    if key is None:
        report.values.append(Value("key", NONE, DEFAULT))
        return
    if isinstance(key, _File):
        whence = f"{key.path} ({whence})"
        texts = _check_key_file(report, whence, key.path)
        if not texts:
            return
        key = texts[0]
    try:
        shown = f"fingerprint {MeshKey(key, mesh_name).fingerprint}"
    except mesh.MeshError as error:
        report.problem(whence, errors.plain(error))
        return
    report.values.append(Value("key", shown, whence))


@dataclass(frozen=True, slots=True)
class _File:
    path: str

    @classmethod
    def of(cls, path: str | None) -> _File | None:
        return cls(path) if path is not None else None


def _first(*given: tuple[Any, str]) -> tuple[Any, str]:
    return next(((value, origin) for value, origin in given if value is not None), (None, DEFAULT))


def _check_key_file(report: Report, where: str, path: str) -> Sequence[str]:
    try:
        texts = read_keys(path).texts
    except mesh.ConfigError as error:
        report.problem(where, errors.plain(error))
        return ()
    if is_readable_by_others(Path(path)):
        report.problem(where, f"others can read the mesh's key in it: chmod 600 {path}")
    return texts


def _identity(
    report: Report, options: Options, given: Mapping[str, str], path: str, origin: str
) -> None:
    try:
        found = IdentityFile.load(path)
    except mesh.ConfigError as error:
        report.problem(origin, errors.plain(error))
        return
    certificate = found.certificate
    roles = f", roles {', '.join(certificate.roles)}" if certificate.roles else ""
    until = f"{certificate.name}{roles}, valid until {day(certificate.not_after)}"
    report.values.append(Value("identity", until, f"{found.path} ({origin})"))
    report.values.append(Value("mesh", found.mesh, "the identity"))
    fingerprint = MeshKey(found.key, found.mesh).fingerprint
    report.values.append(Value("key", f"fingerprint {fingerprint}", "the identity"))
    if options.mesh_name not in (None, found.mesh):
        report.problem("--mesh", f"the identity is for the mesh {found.mesh!r}: leave one out")
    elif origin == "MESH_IDENTITY" and given.get("MESH_NAME", found.mesh) != found.mesh:
        report.problem("MESH_NAME", f"the identity is for the mesh {found.mesh!r}: leave one out")
    try:
        found.check()
    except mesh.ConfigError as error:
        report.problem(str(found.path), errors.plain(error))
        return
    left = certificate.not_after - time.time()
    if left < EXPIRES_SOON:
        days = count_of(int(left // 86_400), "day")
        report.warn(str(found.path), f"it ends in {days}: have the machine invited again")


# Where we look, and are found.


def _network(
    report: Report,
    options: Options,
    profile: Profile,
    given: Mapping[str, str],
    look_up: Callable[[str], Any] | None,
) -> None:
    seeds, whence = _first(
        (options.seed or None, "--seed"),
        (_listed(given.get("MESH_SEEDS")), "MESH_SEEDS"),
        (profile.seeds, report.of_profile),
    )
    report.values.append(Value("seeds", ", ".join(seeds or ()) or NONE, whence))
    good = _check_seeds(report, whence, seeds or [])
    for seed in good if look_up is not None else ():
        _resolve(report, whence, seed, look_up)
    wanted, whence = _first(
        (options.interface or None, "--interface"),
        (_listed(given.get("MESH_INTERFACES")), "MESH_INTERFACES"),
        (profile.interfaces, report.of_profile),
    )
    _interfaces(report, whence, wanted)
    is_open = report.value_of("key") != NONE or bool(options.insecure or given.get("MESH_INSECURE"))
    is_open = is_open or profile.insecure is True
    host = "every interface" if is_open else "127.0.0.1, as there is no key"
    for name, in_options, in_environment, in_profile, otherwise in (
        ("host", options.host, "MESH_HOST", profile.host, host),
        ("insecure", options.insecure, "MESH_INSECURE", profile.insecure, "no"),
        ("timeout", options.seconds, "", profile.timeout, f"{DEFAULT_TIMEOUT:g}"),
    ):
        option = f"--{name}"
        value, whence = _first(
            (in_options, option),
            (given.get(in_environment), in_environment),
            (in_profile, report.of_profile),
        )
        shown = otherwise if value is None else value if isinstance(value, str) else _shown(value)
        report.values.append(Value(name, shown, whence))


def _shown(value: Any) -> str:
    return ("yes" if value else "no") if isinstance(value, bool) else f"{value:g}"


def _listed(text: str | None) -> list[str] | None:
    return (text or "").replace(",", " ").split() or None


def _check_seeds(report: Report, where: str, seeds: Sequence[str]) -> list[str]:
    """Those that are right."""
    good = []
    for seed in seeds:
        if seed.startswith(FILE):
            path = Path(seed.removeprefix(FILE))
            if not path.is_file():
                report.warn(where, f"seed {seed}: there is no such file yet")
            continue
        try:
            if not is_service_name(seed):
                parse_address(seed)
        except ValueError as error:
            report.problem(where, f"seed {error}")
        else:
            good.append(seed)
    return good


def _resolve(report: Report, where: str, seed: str, look_up: Callable[[str], Any] | None) -> None:
    if look_up is None or (not is_service_name(seed) and is_ip_literal(parse_address(seed)[0])):
        return
    answer = look_up(seed)
    if isinstance(answer, str):
        report.problem(where, f"seed {seed}: {answer}")
    else:
        report.values.append(Value(f"seed {seed}", ", ".join(answer), "looked up"))


def _interfaces(report: Report, whence: str, wanted: Sequence[str] | None) -> None:
    from discovery import check_wanted
    from discovery.interfaces import all_interfaces, choose

    try:
        choice = choose(all_interfaces(), check_wanted(wanted or ()))
    except ValueError as error:
        report.problem(whence, f"interfaces: {error}")
        return
    used = ", ".join(f"{one.name} ({', '.join(one.ipv4)})" for one in choice.used)
    report.values.append(Value("interfaces", used or NONE, whence if wanted else "by rule"))
    if wanted and not choice.used:
        report.problem(whence, f"no interface can be used: {choice.explain()}")
    elif wanted:
        for name, why in choice.skipped:
            if name in wanted:
                report.problem(whence, f"interface {name}: {why}")


# What only nodes take from the environment, and all of it together.


def _of_nodes(report: Report, options: Options, given: Mapping[str, str]) -> None:
    for name in OF_NODES:
        if name in given:
            title = name.removeprefix("MESH_").lower()
            report.values.append(Value(f"{title} (nodes)", given[name], name))
    if path := given.get("MESH_POLICY"):
        try:
            Policy.load(path)
        except mesh.ConfigError as error:
            report.problem("MESH_POLICY", errors.plain(error))
        if options.identity_path is None and "MESH_IDENTITY" not in given:
            report.problem("MESH_POLICY", "a policy needs identities: set MESH_IDENTITY, too")


def _together(report: Report, options: Options) -> None:
    """Make a command and a node of it, and start neither: what has no check of its own shows."""

    def command() -> None:
        mesh.Node("meshctl", observer=True, **options.settings())

    def node() -> None:
        mesh.Node()

    for make in (command, node):
        try:
            make()
        except (mesh.MeshError, click.UsageError) as error:
            if report.is_right:
                report.problem("settings", errors.plain(error))


def documents(findings: Sequence[Finding]) -> Iterator[dict[str, str]]:
    """For programs."""
    for one in findings:
        yield {"level": one.level, "where": one.where, "text": one.text}
