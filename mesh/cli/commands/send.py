"""``meshctl send``: a file to another machine that runs ``meshctl receive``."""

from __future__ import annotations

from pathlib import Path
from time import monotonic

import click

from mesh.cli import errors
from mesh.cli.completion import complete_peers
from mesh.cli.durations import parse_duration
from mesh.cli.options import Options, json_option, mesh_options, pass_options
from mesh.cli.output import print_json
from mesh.cli.text import bytes_of, count_of, printable

__all__ = ["send"]

MOST_PATIENCE = 7 * 86_400.0
"""A week: a laptop that was taken on a journey comes back."""

EPILOG = """\b
Examples:
  meshctl receive                          on the laptop, and here:
  meshctl send film.mkv laptop
  meshctl send backup.tar 1a2b --wait 2h   it may be off for a while
"""


def _patience(context: click.Context, parameter: click.Parameter, value: str) -> float:
    try:
        return parse_duration(value, MOST_PATIENCE)
    except ValueError as error:
        raise click.BadParameter(str(error), context, parameter) from None


@click.command(epilog=EPILOG, short_help="Send a file to who runs 'meshctl receive'.")
@click.argument("path", metavar="FILE", type=click.Path())
@click.argument("peer", shell_complete=complete_peers)
@click.option(
    "--wait",
    "patience",
    metavar="TIME",
    default="10m",
    callback=_patience,
    help="How long PEER may be away when it is lost midway: 90s, 10m, 2h. Default: 10m.",
)
@json_option("what was sent, where to, and its SHA-256, as JSON")
@mesh_options
@pass_options
def send(options: Options, path: str, peer: str, patience: float, as_json: bool) -> None:
    """Send FILE to PEER, which runs 'meshctl receive': its name, id, or the first digits.

    When the connection breaks, or the receiver is started anew, it goes on where that was. In the
    end both compare the SHA-256 of all of it; the exit code is 1 if they differ.
    """
    from mesh.cli.transfer.progress import bar
    from mesh.cli.transfer.sending import Sender

    file = Path(path)
    if not file.is_file():
        raise click.UsageError(f"{path} is no file, or not to be found")
    size = file.stat().st_size
    began = monotonic()
    with options.node() as node, bar(printable(file.name), size) as progress:
        sent = Sender(
            node,
            file,
            peer,
            timeout=options.timeout,
            patience=patience,
            progress=progress,
            note=errors.note,
        ).run()
    seconds = monotonic() - began
    if as_json:
        to = {"id": sent.peer.id, "name": sent.peer.name}
        document = {"file": path, "peer": to, "saved": sent.saved, "bytes": sent.size}
        sums = {"carried": sent.carried, "cuts": sent.cuts, "seconds": round(seconds, 6)}
        print_json(document | sums | {"sha256": sent.digest})
        return
    cuts = f", {count_of(sent.cuts, 'cut')} on the way" if sent.cuts else ""
    click.echo(
        f"sent to {sent.peer} as {printable(sent.saved)}: {bytes_of(sent.size)} in "
        f"{seconds:.1f} s{cuts}"
    )
    click.echo(f"sha256 {sent.digest}")
