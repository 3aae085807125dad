"""``meshctl invite``: let another machine in, by a code that is used once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from mesh.cli import errors
from mesh.cli.certificates import day
from mesh.cli.durations import parse_duration, spelled
from mesh.cli.options import Options, json_option, mesh_options, pass_options
from mesh.cli.output import print_json
from mesh.cli.places import authority_folder
from mesh.cli.text import count_of
from mesh.security.authority import DEFAULT_DAYS, MAX_DAYS, Authority
from mesh.security.certificates import MAX_ROLES, Certificate
from patterns.names import check_name

if TYPE_CHECKING:
    from mesh.invites import Inviter, Welcome

__all__ = ["invite"]

MOST_WITHIN = 86_400.0
"""A day: a code that lies around for longer is forgotten, and found."""

EPILOG = """\b
Examples:
  meshctl invite calc
  meshctl invite laptop --role operator --within 2h
  meshctl invite pi --days 90 --port 4711 --mesh lab

Tell the code to nobody but who sits at the other machine: the first who uses it gets in. Where
multicast does not reach, the other machine takes the address with it: meshctl join CODE@HOST:PORT
"""


class _Invite:
    """One invite, and what is said of it."""

    def __init__(
        self, authority: Authority, name: str, roles: Sequence[str], days: int, as_json: bool
    ) -> None:
        self._authority = authority
        self._name = name
        self._roles = roles
        self._days = days
        self._as_json = as_json
        self._certificate: Certificate | None = None

    def issue(self, node_key: bytes) -> Welcome:
        from mesh.invites import Welcome

        self._certificate = self._authority.issue(self._name, node_key, self._roles, self._days)
        return Welcome.by(self._authority, self._certificate)

    def tell(self, inviter: Inviter, within: float) -> None:
        code = str(inviter.code)
        if self._as_json:
            addresses = list(inviter.addresses)
            told = {"code": code, "command": f"meshctl join {code}", "addresses": addresses}
            print_json(told, is_line=True)
            return
        click.echo(code)
        click.echo(f"meshctl join {code}")
        errors.note(f"run that on the other machine within {spelled(within)}; Ctrl-C ends")
        errors.note(f"where multicast does not reach: meshctl join {code}@{inviter.addresses[0]}")

    def tell_end(self, is_saved: bool, wrong: int, within: float) -> None:
        """Raises ClickException when the machine has not joined."""
        tried = f"{count_of(wrong, 'request')} came with a wrong code" if wrong else ""
        certificate = self._certificate
        if certificate is None:
            also = f"; {tried}" if tried else ""
            raise click.ClickException(f"nobody used the code within {spelled(within)}{also}")
        if not is_saved:
            raise click.ClickException(
                f"the other machine was given a certificate and did not say that it saved it: if "
                f"'meshctl join' failed there, 'meshctl revoke {self._name}' and invite it again"
            )
        if tried:
            errors.note(f"{tried}: somebody mistyped it, or guessed")
        serial, until = certificate.serial.hex(), day(certificate.not_after)
        if self._as_json:
            print_json({"joined": self._name, "serial": serial, "until": until}, is_line=True)
        else:
            click.echo(f"{self._name} has joined: certificate {serial}, valid until {until}")


def _check_within(context: click.Context, parameter: click.Parameter, value: str) -> float:
    try:
        return parse_duration(value, MOST_WITHIN)
    except ValueError as error:
        raise click.BadParameter(str(error), context, parameter) from None


@click.command(epilog=EPILOG, short_help="Let another machine in, by a code.")
@click.argument("name")
@click.option(
    "--role", "roles", metavar="ROLE", multiple=True, help="For that machine; may be repeated."
)
@click.option(
    "--days",
    metavar="DAYS",
    type=click.IntRange(1, MAX_DAYS),
    default=DEFAULT_DAYS,
    help=f"How long its certificate is valid. Default: {DEFAULT_DAYS}.",
)
@click.option(
    "--within",
    metavar="TIME",
    default="10m",
    callback=_check_within,
    help="How long the code is good: 90s, 10m, 2h. Default: 10m.",
)
@click.option(
    "--port",
    metavar="PORT",
    type=click.IntRange(0, 65535),
    default=0,
    help="TCP port to listen on. Default: any free one.",
)
@json_option("the code, then who has joined, each an object on a line")
@mesh_options
@pass_options
def invite(
    options: Options,
    name: str,
    roles: tuple[str, ...],
    days: int,
    within: float,
    port: int,
    as_json: bool,
) -> None:
    """Let another machine in as NAME, and wait until it has joined.

    It runs on the machine with the authority ('meshctl ca init'), prints a code for 'meshctl
    join', and ends when that was used, once.
    """
    check_name("node", name)
    wanted = sorted({check_name("role", role) for role in roles})
    if len(wanted) > MAX_ROLES:
        raise click.UsageError(f"{len(wanted)} roles: a certificate takes {MAX_ROLES}")
    authority = Authority.open(authority_folder(options.resolved_mesh))
    if valid := [one for one in authority.valid() if one.name == name]:
        errors.note(
            f"{name} has {count_of(len(valid), 'valid certificate')} already, which this does not "
            f"change: if that machine is lost, 'meshctl revoke {name}' first"
        )
    made = _Invite(authority, name, wanted, days, as_json)
    asyncio.run(_wait(options, made, within, port))


async def _wait(options: Options, made: _Invite, within: float, port: int) -> None:
    from mesh.invites import Code, Inviter

    inviter = Inviter(
        Code.new(),
        made.issue,
        host=options.resolved_host,
        port=port,
        interfaces=options.resolved_interfaces,
    )
    async with inviter:
        made.tell(inviter, within)
        is_saved = await inviter.wait(within)
    made.tell_end(is_saved, inviter.wrong, within)
