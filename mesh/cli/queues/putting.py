"""``meshctl queue put``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from mesh.cli import errors
from mesh.cli.bodies import Bodies, body_options
from mesh.cli.headers import header_option
from mesh.cli.options import Options, json_option, mesh_options_beside_key, pass_options
from mesh.cli.output import print_json
from mesh.cli.queues.looking import print_result
from mesh.cli.queues.opening import Opened, duration, name_argument, opened
from mesh.cli.value_command import ValueCommand
from patterns.queues.naming import ANY_HOME
from patterns.queues.ticket import DEFAULT_PRIORITY, MAX_PRIORITY

if TYPE_CHECKING:
    from mesh.queues.jobs import AsyncJob

__all__ = ["put"]

TOGETHER = 500
"""Jobs in one commit, of those that are there: a home takes 1000."""

KEPT_TO_WAIT = 60.0
"""Seconds for which a result is kept that is waited for, if nothing else is said."""

EPILOG = """\b
Examples:
  meshctl queue put emails '{"to": "ada@example.org"}'
  meshctl queue put emails @mail.json --delay 10m --id mail-7
  meshctl queue put thumbnails cat.jpg --wait
  jq -c '.[]' mails.json | meshctl queue put emails --stdin
"""


def _moment(
    context: click.Context, parameter: click.Parameter, value: str | None
) -> datetime | None:
    """Of this machine's time zone, if it says no other."""
    if value is None:
        return None
    try:
        return datetime.fromisoformat(value).astimezone()
    except ValueError:
        raise click.BadParameter(
            f"{value!r}: write it as 2026-12-24T18:00", context, parameter
        ) from None


@click.command(cls=ValueCommand, epilog=EPILOG, short_help="Put jobs into a queue.")
@name_argument
@click.argument("data", nargs=-1)
@click.option("--stdin", "by_line", is_flag=True, help="A job for each line of stdin.")
@click.option(
    "--priority",
    metavar="N",
    type=click.IntRange(0, MAX_PRIORITY),
    default=DEFAULT_PRIORITY,
    help=f"0 is the most urgent. Default: {DEFAULT_PRIORITY}.",
)
@click.option("--delay", metavar="TIME", callback=duration, help="Not before that, as 90s or 10m.")
@click.option("--at", metavar="WHEN", callback=_moment, help="Not before that, as 2026-12-24T18:00")
@click.option("--ttl", metavar="TIME", callback=duration, help="After which it is of no use.")
@click.option("--unique", metavar="NAME", help="While one of that name waits or runs it is this.")
@click.option(
    "--key",
    metavar="KEY",
    help="Jobs of one key run one by one, in order. (The mesh's key goes before 'queue'.)",
)
@click.option("--id", metavar="ID", help="Its id; another one of that id is the same job.")
@click.option("--keep-result", metavar="TIME", callback=duration, help="For which it is kept.")
@click.option(
    "--hosts",
    metavar="SERVICE",
    default=ANY_HOME,
    help="Only to homes among the nodes of this service. Default: any home of the queue.",
)
@click.option("--wait", is_flag=True, help="Wait for the results, up to --timeout, and print them.")
@body_options
@header_option
@json_option("one JSON object per job and line; with --wait its result, too")
@mesh_options_beside_key
@pass_options
def put(
    options: Options,
    /,
    name: str,
    data: tuple[str, ...],
    by_line: bool,
    form: str | None,
    hosts: str,
    wait: bool,
    as_json: bool,
    delay: float | None,
    keep_result: float | None,
    **settings: Any,
) -> None:
    """Put a job for each DATA into the queue NAME, and print their ids: they are safe then.

    DATA is JSON if it parses as JSON, else text; - reads it from stdin, @PATH from a file, and @@
    stands for a literal @. Without DATA one job of null is put. Several jobs go into one commit,
    of --stdin those that are there at a time.
    """
    if by_line and data:
        raise click.UsageError("DATA and --stdin are both given; use one")
    if delay is not None and settings["at"] is not None:
        raise click.UsageError("--delay and --at are both given; use one")
    if wait and keep_result is None:
        keep_result = KEPT_TO_WAIT
    bodies = Bodies(form)
    values = bodies.batches() if by_line else [[bodies.value(word) for word in data or ("null",)]]
    settings |= {"delay": delay or 0.0, "keep_result": keep_result}
    settings["headers"] = settings["headers"] or None
    with opened(options, name, hosts) as it:
        for together in _cut(values):
            for job in it.run(it.queue.put_many(together, **settings)):
                _tell(it, job, wait, options.timeout, as_json)


def _cut(values: Iterable[list[Any]]) -> Iterator[list[Any]]:
    for batch in values:
        for begin in range(0, len(batch), TOGETHER):
            yield batch[begin : begin + TOGETHER]


def _tell(it: Opened, job: AsyncJob, wait: bool, timeout: float, as_json: bool) -> None:
    if not job.is_new and not as_json:
        errors.note(f"the job {job.id} was there already")
    value = it.run(job.result(timeout)) if wait else None
    if as_json:
        told = {"id": job.id, "is_new": job.is_new} | ({"result": value} if wait else {})
        print_json(told, is_line=True)
    elif wait:
        print_result(value, as_json=False)
    else:
        click.echo(job.id)
