"""``meshctl call``: call a method of a service."""

from __future__ import annotations

import click

import mesh
from mesh.cli.bodies import Bodies, body_options
from mesh.cli.completion import complete_methods, complete_peers
from mesh.cli.headers import header_option
from mesh.cli.options import Options, json_option, mesh_options_beside_key, pass_options
from mesh.cli.output import print_json, print_text
from mesh.cli.peer_names import the_one
from mesh.cli.tracing.option import begin, trace_option
from mesh.cli.value_command import ValueCommand
from mesh.cli.values import split_words, to_text

__all__ = ["call"]

EPILOG = """\b
Examples:
  meshctl call calc.add 2 3
  meshctl call users.find name=Ada limit=10
  meshctl call --retry --timeout 0.5 calc.add 2 b=3
  meshctl call --hedge 0.05 calc.add 2 3       ask another node, too, after 50 ms
  meshctl call --peer 1a2b calc.add 2 3
  meshctl call --trace calc.add 2 3            and 'meshctl trace' shows what came of it
  meshctl call --key user:7 carts.show         the node that owns the key
  meshctl --key "some words" call calc.add 2   where "some words" is the mesh's key
  meshctl call store.put key '{"a": [1, 2]}'
  meshctl call store.put key '"2"'             the text 2, not the number
  meshctl call store.put key value=@photo.jpg --binary

Values that JSON lacks are printed as text: bytes in base64, times in ISO 8601, sets as arrays.
"""


def _hedge(text: str) -> float | str:
    """Seconds, or a quantile as it stands; what is neither is refused with the call's options."""
    try:
        return float(text)
    except ValueError:
        return text


@click.command(cls=ValueCommand, epilog=EPILOG, short_help="Call a method and print the result.")
@click.argument("method", shell_complete=complete_methods)
@click.argument("args", nargs=-1)
@click.option("--retry", is_flag=True, help="Try another node if one is lost: it may run twice.")
@click.option(
    "--hedge",
    metavar="SECONDS",
    type=_hedge,
    help="Ask another node, too, if no answer came for so long: it may run twice.",
)
@click.option(
    "--peer",
    metavar="PEER",
    shell_complete=complete_peers,
    help="This node only: its id, the first digits, name or instance.",
)
@click.option(
    "--key",
    metavar="KEY",
    help="The node that owns KEY, which is text. (The mesh's key goes before 'call'.)",
)
@body_options
@header_option
@trace_option
@json_option("the result as JSON, texts too")
@mesh_options_beside_key
@pass_options
def call(
    options: Options,
    method: str,
    args: tuple[str, ...],
    retry: bool,
    hedge: float | str | None,
    peer: str | None,
    key: str | None,
    form: str | None,
    headers: dict[str, str],
    trace: bool,
    as_json: bool,
) -> None:
    """Call METHOD, such as calc.add, and print what it returns.

    Each argument is JSON if it parses as JSON, else text; name=value is a keyword argument. The
    value - is read from stdin, @PATH from a file; @@ stands for a literal @.
    """
    service, dot, name = method.partition(".")
    if not dot:
        raise click.UsageError(f"{method!r} names no method; write SERVICE.METHOD, as in calc.add")
    positional, named = split_words(args, Bodies(form).value)
    with options.node() as node:
        if key is not None or peer is not None:
            # Who owns it, or is meant, is only right when all candidates are known.
            node.wait_for(timeout=options.timeout)
        proxy = node.service(
            service,
            timeout=options.timeout,
            key=key,
            retry=retry,
            peer=_find(node, peer) if peer is not None else None,
            headers=begin(trace, headers),
            hedge=hedge,
        )
        try:
            value = proxy[name](*positional, **named)
        except mesh.NoProvider as error:
            if key is None or options.has_key or node.peers():
                raise
            raise click.ClickException(
                f"{error}; --key after 'call' is the key whose owner is called: the mesh's key "
                "goes before 'call', or in --key-file"
            ) from None
        if as_json:
            print_json(value)
        else:
            print_text(to_text(value))


def _find(node: mesh.Node, wanted: str) -> mesh.Peer:
    return the_one(
        node.peers(all=True), wanted, among="peers", advice="'meshctl peers --all' lists them"
    )
