"""``meshctl policy``: whether a policy file is right, and what it decides. It needs no mesh."""

from __future__ import annotations

import click

from mesh.cli import errors
from mesh.cli.groups import OrderedGroup, require_command
from mesh.cli.options import json_option
from mesh.cli.output import print_json, print_text
from mesh.security import Identity, Policy
from mesh.security.rules import RIGHTS
from patterns.names import check_name, check_pattern, check_subject, group_subject, split_method

__all__ = ["policy"]

EPILOG = """\b
Examples:
  meshctl policy check policy.toml
  meshctl policy check policy.toml --as shop-1 call orders.create

A node takes its policy from policy= or MESH_POLICY.
"""

CHECK_EPILOG = """\b
Examples:
  meshctl policy check policy.toml
  meshctl policy check policy.toml --as shop-1 call orders.create
  meshctl policy check policy.toml --as shop-1 --role eu subscribe 'orders.>'

Exit code 0 when it is allowed, 1 when it is denied.
"""


@click.group(
    cls=OrderedGroup,
    epilog=EPILOG,
    short_help="Check a policy: who may do what.",
    invoke_without_command=True,
    no_args_is_help=False,
)
@click.pass_context
def policy(context: click.Context) -> None:
    """Check a policy, the file that says who may call, publish, subscribe, join and give work."""
    require_command(context)


@policy.command(epilog=CHECK_EPILOG, short_help="Check a policy file and explain a decision.")
@click.argument("file", type=click.Path())
@click.argument("right", metavar="RIGHT", required=False, type=click.Choice(RIGHTS))
@click.argument("name", metavar="NAME", required=False)
@click.option("--as", "identity", metavar="NAME", help="Whose right it is: an identity's name.")
@click.option(
    "--role", "roles", metavar="ROLE", multiple=True, help="A role of its; repeat for several."
)
@json_option("the decision, or what the file has")
def check(
    file: str,
    right: str | None,
    name: str | None,
    identity: str | None,
    roles: tuple[str, ...],
    as_json: bool,
) -> int:
    """Check that FILE is a policy, and say by which rule NAME is allowed or denied.

    RIGHT is call, publish (which send needs, too), subscribe, join, broadcast or groupcast; NAME a
    method, subject, pattern or group. The roles that FILE itself gives need no --role.
    """
    loaded = Policy.load(file)
    if right is None:
        if identity is not None or roles:
            raise click.UsageError("--as and --role are for a right: add one, as 'call calc.add'")
        _describe(file, loaded, as_json)
        return errors.OK
    if name is None:
        raise click.UsageError(f"{right} what? Give a name, as in 'call calc.add'")
    if identity is None:
        raise click.UsageError("whose right? Give --as NAME: without an identity all is denied")
    _check(right, name)
    who = Identity(
        check_name("identity", identity), frozenset(check_name("role", r) for r in roles)
    )
    is_allowed, rule = loaded.decide(who, right, name)
    known = sorted(loaded.roles_of(who))
    if as_json:
        asked = {"identity": identity, "roles": known, "right": right, "name": name}
        print_json(asked | {"allowed": is_allowed, "rule": rule})
    else:
        word = "may" if is_allowed else "may not"
        print_text(f"{identity} ({', '.join(known) or 'no roles'}) {word} {right} {name}: {rule}")
    return errors.OK if is_allowed else errors.FAILED


def _describe(file: str, loaded: Policy, as_json: bool) -> None:
    rules = [rule.name for rule in loaded.rules]
    if as_json:
        print_json({"rules": rules, "roles": sorted(loaded.roles), "default": loaded.default})
    else:
        print_text(f"{file} is right: {len(rules)} rules, {loaded.default} by default")


def _check(right: str, name: str) -> None:
    """Raises BadName for what nobody could ask for."""
    if right == "call":
        split_method(name)
    elif right == "publish":
        check_subject(name)
    elif right == "subscribe":
        check_pattern(name)
    else:
        group_subject(name)
