"""``meshctl call``: call a method of a service."""

from __future__ import annotations

import click

import mesh
from mesh.cli.headers import header_option
from mesh.cli.options import Options, ValueCommand, json_option, mesh_options, pass_options
from mesh.cli.output import print_json, print_text
from mesh.cli.values import split_words, to_text

__all__ = ["call"]

EPILOG = """\b
Examples:
  meshctl call calc.add 2 3
  meshctl call users.find name=Ada limit=10
  meshctl call --retry --timeout 0.5 calc.add 2 b=3
  meshctl call --peer 1a2b calc.add 2 3
  meshctl call store.put key '{"a": [1, 2]}'
  meshctl call store.put key '"2"'             the text 2, not the number

Values that JSON lacks are printed as text: bytes in base64, times in ISO 8601, sets as arrays.
"""


@click.command(cls=ValueCommand, epilog=EPILOG)
@click.argument("method")
@click.argument("args", nargs=-1)
@click.option("--retry", is_flag=True, help="Try another node if one is lost: it may run twice.")
@click.option("--peer", "prefix", metavar="ID", help="This node only; the first digits will do.")
@header_option
@json_option("the result as JSON, texts too")
@mesh_options
@pass_options
def call(
    options: Options,
    method: str,
    args: tuple[str, ...],
    retry: bool,
    prefix: str | None,
    headers: dict[str, str],
    as_json: bool,
) -> None:
    """Call METHOD, such as calc.add, and print what it returns.

    Each argument is JSON if it parses as JSON, else text; name=value is a keyword argument.
    """
    service, dot, name = method.partition(".")
    if not dot:
        raise click.UsageError(f"{method!r} names no method; write SERVICE.METHOD, as in calc.add")
    positional, named = split_words(args)
    with options.node() as node:
        proxy = node.service(
            service,
            timeout=options.timeout,
            retry=retry,
            peer=_find(node, prefix, options.timeout) if prefix is not None else None,
            headers=headers or None,
        )
        value = proxy[name](*positional, **named)
        if as_json:
            print_json(value)
        else:
            print_text(to_text(value))


def _find(node: mesh.Node, prefix: str, timeout: float) -> mesh.Peer:
    """The one peer whose id begins like this. Raises ClickException for none or several."""
    node.wait_for(timeout=timeout)
    found = [peer for peer in node.peers(all=True) if peer.id.startswith(prefix.lower())]
    if len(found) == 1:
        return found[0]
    if not found:
        raise click.ClickException(f"no peer's id begins with {prefix!r}; see 'meshctl peers'")
    names = ", ".join(str(peer) for peer in found)
    raise click.ClickException(f"{prefix!r} is the beginning of {len(found)} ids: {names}")
