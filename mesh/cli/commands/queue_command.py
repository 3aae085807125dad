"""``meshctl queue``: work queues, for who looks after them."""

from __future__ import annotations

import click

from mesh.cli.groups import OrderedGroup, require_command
from mesh.cli.options import mesh_options
from mesh.cli.queues.changing import cancel, dead, drain, empty, kick, pause, resume
from mesh.cli.queues.looking import ls, peek, result, stats, status, tail
from mesh.cli.queues.putting import put
from mesh.cli.queues.serving import serve

__all__ = ["queue"]

EPILOG = """\b
Examples:
  meshctl queue serve emails --store sqlite:///jobs.db
  meshctl queue put emails '{"to": "ada@example.org"}'
  meshctl work -q emails -- ./send.sh
  meshctl queue ls
  meshctl queue dead emails
"""


@click.group(
    cls=OrderedGroup,
    epilog=EPILOG,
    invoke_without_command=True,
    no_args_is_help=False,
    short_help="See, fill, keep and look after work queues.",
)
@mesh_options
@click.pass_context
def queue(context: click.Context) -> None:
    """See, fill, keep and look after work queues.

    Each is asked of all homes of a queue, and what they say is put together. 'meshctl work' does
    the jobs.
    """
    require_command(context)


for _command in (
    ls,
    stats,
    put,
    peek,
    kick,
    pause,
    resume,
    drain,
    empty,
    dead,
    tail,
    cancel,
    status,
    result,
    serve,
):
    queue.add_command(_command)
