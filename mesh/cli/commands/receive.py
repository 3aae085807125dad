"""``meshctl receive``: take the files that others send."""

from __future__ import annotations

import re
import socket
import threading
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

import mesh
from mesh.cli import errors
from mesh.cli.options import Options, json_option, mesh_options, pass_options
from mesh.cli.output import print_json, print_text, reader_is_gone
from mesh.cli.streams import LOOK_EVERY
from mesh.cli.text import bytes_of, printable
from patterns.names import MAX_NAME_CHARS, check_name

if TYPE_CHECKING:
    from mesh.cli.transfer.receiving import Event

__all__ = ["receive"]

EPILOG = """\b
Examples:
  meshctl receive                          into this folder, until Ctrl-C
  meshctl receive --dir ~/Downloads --once
  meshctl receive --name nas --overwrite --json

Whoever is in the mesh may send. With identities a policy says who may:
allow.call = ["meshctl-receive.*"].
"""


@click.command(epilog=EPILOG, short_help="Take the files that others send.")
@click.option(
    "--dir",
    "folder",
    metavar="DIR",
    type=click.Path(),
    default=".",
    help="Where to put them. Default: here.",
)
@click.option("--once", is_flag=True, help="End after one file.")
@click.option("--overwrite", is_flag=True, help="Replace files. Else 'a (1).txt' is written.")
@click.option("--name", metavar="NAME", help="What senders call this. Default: the hostname.")
@json_option("one JSON object per event and line: begun, saved, cut, refused")
@mesh_options
@pass_options
def receive(
    options: Options, folder: str, once: bool, overwrite: bool, name: str | None, as_json: bool
) -> None:
    """Take the files that others send with 'meshctl send', until Ctrl-C.

    What is not whole is kept as .NAME.part, so that the sender can go on with it, and gets its name
    when its SHA-256 is the sender's. Nothing outside the folder is written.
    """
    from mesh.cli.transfer import SERVICE
    from mesh.cli.transfer.folder import Folder
    from mesh.cli.transfer.receiving import MAX_TRANSFERS, Receiver

    if not Path(folder).is_dir():
        raise click.UsageError(f"--dir {folder} is no folder")
    name = _own_name() if name is None else check_name("node", name)
    is_saved = threading.Event()

    def tell(event: Event) -> None:
        _show(event, as_json)
        if event.what == "saved":
            is_saved.set()

    receiver = Receiver(Folder(Path(folder), overwrite), tell)
    node = mesh.Node(name, **options.settings())
    node.stream(SERVICE, concurrency=MAX_TRANSFERS)(receiver.serve)
    with node:
        node.wait_for(timeout=options.timeout)
        errors.note(f"receiving as {node.me}: meshctl send FILE {name}; Ctrl-C ends")
        while not reader_is_gone():
            if is_saved.wait(LOOK_EVERY) and once:
                return
            is_saved.clear()


def _own_name() -> str:
    host = socket.gethostname().partition(".")[0]
    return re.sub(r"[^A-Za-z0-9_-]", "-", host)[:MAX_NAME_CHARS] or "receiver"


def _show(event: Event, as_json: bool) -> None:
    now = datetime.now().astimezone()
    peer = event.peer
    try:
        if as_json:
            document = {"time": now, "event": event.what, "name": event.name, "bytes": event.size}
            of_peer = {"peer": {"id": peer.id, "name": peer.name}}
            rest = {"sha256": event.digest, "reason": event.reason}
            print_json(document | of_peer | rest, is_line=True)
            return
        name = printable(event.name)
        if event.reason is not None:
            errors.note(f"{name} from {peer} {event.what}: {event.reason}")
        else:
            print_text(f"{now:%H:%M:%S}  {event.what}  {name}, {bytes_of(event.size)}, from {peer}")
    except BrokenPipeError:
        return  # the main thread looks for that
