"""``meshctl iterate``: the results of a generator method, one by one."""

from __future__ import annotations

import click

from mesh.cli.bodies import Bodies, body_options
from mesh.cli.completion import complete_methods, complete_peers
from mesh.cli.headers import header_option
from mesh.cli.loops import run_until_signal
from mesh.cli.options import Options, json_option, mesh_options_beside_key, pass_options
from mesh.cli.output import print_json, print_text
from mesh.cli.peer_names import the_one
from mesh.cli.value_command import ValueCommand
from mesh.cli.values import split_words, to_text

__all__ = ["iterate"]

EPILOG = """\b
Examples:
  meshctl iterate logs.tail 10
  meshctl iterate logs.tail follow=true --json | jq .level
  meshctl iterate numbers.primes --count 5
  meshctl iterate logs.tail --peer web-1 --item-timeout 60
"""


@click.command(cls=ValueCommand, epilog=EPILOG, short_help="Print a generator's items as made.")
@click.argument("method", shell_complete=complete_methods)
@click.argument("args", nargs=-1)
@click.option("--count", metavar="N", type=click.IntRange(min=1), help="End after N items.")
@click.option(
    "--item-timeout",
    metavar="SECONDS",
    type=click.FloatRange(min=0),
    help="Longest wait for each item. Default: none; --timeout is for the beginning.",
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
    help="The node that owns KEY, which is text. (The mesh's key goes before 'iterate'.)",
)
@body_options
@header_option
@json_option("one JSON value per item and line")
@mesh_options_beside_key
@pass_options
def iterate(
    options: Options,
    method: str,
    args: tuple[str, ...],
    count: int | None,
    item_timeout: float | None,
    peer: str | None,
    key: str | None,
    form: str | None,
    headers: dict[str, str],
    as_json: bool,
) -> int:
    """Call the generator METHOD, such as logs.tail, and print each item as it comes.

    It makes items no faster than they are printed, and is cancelled by Ctrl-C, or when nobody
    reads what is printed. ARGS are as those of call.
    """
    service, dot, name = method.partition(".")
    if not dot:
        raise click.UsageError(f"{method!r} names no method; write SERVICE.METHOD, as in logs.tail")
    if peer is not None and key is not None:
        raise click.UsageError("--peer and --key are both given; use one")
    positional, named = split_words(args, Bodies(form).value)

    async def work() -> None:
        async with options.async_node() as node:
            if key is not None or peer is not None:
                await node.wait_for(timeout=options.timeout)
            advice = "'meshctl peers' lists them"
            proxy = node.service(
                service,
                timeout=options.timeout,
                key=key,
                peer=peer and the_one(node.peers(), peer, among="peers", advice=advice),
                headers=headers or None,
            )
            asked = proxy.iterate(item_timeout=item_timeout)[name](*positional, **named)
            async with asked as items:
                number = 0
                async for item in items:
                    if as_json:
                        print_json(item, is_line=True)
                    else:
                        print_text(to_text(item))
                    number += 1
                    if number == count:
                        return

    return run_until_signal(work())
