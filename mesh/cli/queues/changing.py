"""``meshctl queue kick``, ``pause``, ``resume``, ``drain``, ``empty``, ``cancel`` and ``dead``."""

from __future__ import annotations

import click

from mesh.cli import errors
from mesh.cli.bodies import Bodies, body_options
from mesh.cli.options import Options, json_option, mesh_options, pass_options
from mesh.cli.output import print_json, print_text
from mesh.cli.queues.looking import print_jobs
from mesh.cli.queues.opening import (
    Opened,
    ask_first,
    examples,
    group_option,
    name_argument,
    opened,
)
from mesh.cli.queues.showing import job_document, job_text
from mesh.cli.text import count_of
from mesh.cli.value_command import ValueCommand
from patterns.queues.people import MAX_PEEK

__all__ = ["cancel", "dead", "drain", "empty", "kick", "pause", "resume"]

ALL = 2**31
"""As many as there are."""

DEAD_EPILOG = """\b
Examples:
  meshctl queue dead emails                          the first of them, and why
  meshctl queue dead emails show 1a2b3c4d-7          with the whole reason
  meshctl queue dead emails edit 1a2b3c4d-7 '{"to": "ada@example.org"}'
  meshctl queue dead emails kick 1a2b3c4d-7          try it again; without an id, all
  meshctl queue dead emails purge                    delete all
"""

_group = group_option("Of this group of workers. Default: all.")
_yes = click.option("--yes", "is_sure", is_flag=True, help="Do not ask.")


def _told(count: int, what: str, as_json: bool) -> None:
    if as_json:
        print_json({"jobs": count})
    else:
        click.echo(f"{what} {count_of(count, 'job')}")


@click.command(
    epilog=examples("meshctl queue kick emails 100", "meshctl queue kick emails --id 1a2b3c4d-7"),
    short_help="Try dead jobs again.",
)
@name_argument
@click.argument("number", metavar="[N]", type=click.IntRange(min=1), required=False)
@click.option("--id", metavar="ID", help="This one; also one that is delayed.")
@_group
@json_option("how many, as an object")
@mesh_options
@pass_options
def kick(
    options: Options,
    name: str,
    number: int | None,
    id: str | None,
    group: str | None,
    as_json: bool,
) -> int:
    """Make up to N dead jobs of each home ready again, or the one with that id."""
    if (number is None) is (id is None):
        raise click.UsageError("say how many jobs of each home, or --id which one")
    if id is not None and group is not None:
        raise click.UsageError("--id is of all groups: leave --group out")
    with opened(options, name) as it:
        return _kick(it, number, id, group, as_json)


def _kick(it: Opened, number: int | None, id: str | None, group: str | None, as_json: bool) -> int:
    count = it.run(it.queue.kick(number, id=id, group=group))
    if id is not None and not count:
        raise click.ClickException(f"no job {id!r} of {it.queue.name!r} is dead or delayed")
    _told(count, "ready again:", as_json)
    return errors.OK


@click.command(
    epilog=examples("meshctl queue pause emails", "meshctl queue pause emails --group audit"),
    short_help="Hand out no more jobs.",
)
@name_argument
@_group
@mesh_options
@pass_options
def pause(options: Options, name: str, group: str | None) -> None:
    """Hand out no more jobs, until 'resume': also when a home is restarted.

    What workers have goes on, and jobs are still taken.
    """
    with opened(options, name) as it:
        it.run(it.queue.pause(group))


@click.command(epilog=examples("meshctl queue resume emails"), short_help="Hand out jobs again.")
@name_argument
@_group
@mesh_options
@pass_options
def resume(options: Options, name: str, group: str | None) -> None:
    """Hand out jobs again, after 'pause'."""
    with opened(options, name) as it:
        it.run(it.queue.resume(group))


@click.command(
    epilog=examples("meshctl queue drain emails", "meshctl queue drain emails --undo"),
    short_help="Take no more jobs, and hand out those that there are.",
)
@name_argument
@click.option("--undo", is_flag=True, help="Take jobs again.")
@mesh_options
@pass_options
def drain(options: Options, name: str, undo: bool) -> None:
    """Take no more jobs at the homes that there are now, and hand out those that they have."""
    with opened(options, name) as it:
        it.run(it.queue.undrain() if undo else it.queue.drain())


@click.command(
    epilog=examples("meshctl queue empty emails --yes"), short_help="Delete all jobs that wait."
)
@name_argument
@_group
@_yes
@json_option("how many, as an object")
@mesh_options
@pass_options
def empty(options: Options, name: str, group: str | None, is_sure: bool, as_json: bool) -> None:
    """Delete all jobs that are ready or delayed. Those that workers have go on."""
    ask_first(f"Delete all jobs that wait in {name!r}?", is_sure=is_sure)
    with opened(options, name) as it:
        _told(it.run(it.queue.empty(group)), "deleted", as_json)


@click.command(
    epilog=examples("meshctl queue cancel emails 1a2b3c4d-7"), short_help="Delete a job."
)
@name_argument
@click.argument("id")
@mesh_options
@pass_options
def cancel(options: Options, name: str, id: str) -> int:
    """Delete the job ID, in whatever state. A worker that has it loses it."""
    with opened(options, name) as it:
        if not it.run(it.queue.delete(id)):
            raise click.ClickException(f"there is no job {id!r} in {name!r}")
    return errors.OK


@click.command(cls=ValueCommand, epilog=DEAD_EPILOG, short_help="See to the dead jobs.")
@name_argument
@click.argument(
    "what",
    metavar="[list|show|kick|edit|purge]",
    type=click.Choice(["list", "show", "kick", "edit", "purge"]),
    default="list",
)
@click.argument("id", required=False)
@click.argument("data", required=False)
@click.option(
    "--limit",
    metavar="N",
    type=click.IntRange(1, MAX_PEEK),
    default=20,
    help="Listed of each home. Default: 20.",
)
@_group
@_yes
@body_options
@json_option("an array of jobs; of show its groups, else how many jobs")
@mesh_options
@pass_options
def dead(
    options: Options,
    name: str,
    what: str,
    id: str | None,
    data: str | None,
    limit: int,
    group: str | None,
    is_sure: bool,
    form: str | None,
    as_json: bool,
) -> int:
    """List the jobs that were given up, and why; show one with the whole reason; give it other DATA
    (edit); try one, or all, again (kick); delete all (purge). 'cancel' deletes one."""
    if (what in ("show", "edit")) > (id is not None):
        raise click.UsageError(f"{what} which job? 'dead {name}' lists their ids")
    if (what == "edit") is not (data is not None) or (what in ("list", "purge") and id is not None):
        raise click.UsageError("write: list, show ID, kick [ID], edit ID DATA, or purge")
    value = Bodies(form).value(data) if data is not None else None
    if what == "purge":
        ask_first(f"Delete all dead jobs of {name!r}?", is_sure=is_sure)
    with opened(options, name) as it:
        if what == "list":
            print_jobs(it, "dead", limit, group, as_json)
        elif what == "show":
            _show(it, id or "", group, as_json)
        elif what == "kick":
            return _kick(
                it, None if id is not None else ALL, id, group if id is None else None, as_json
            )
        elif what == "edit":
            it.run(it.queue.edit(id or "", value, group=group))
            _told(1, "changed", as_json)
        else:
            _told(it.run(it.queue.purge(group)), "deleted", as_json)
    return errors.OK


def _show(it: Opened, id: str, group: str | None, as_json: bool) -> None:
    jobs = [job for job in it.run(it.queue.show(id)) if group in (None, job.group)]
    if not jobs:
        raise click.ClickException(f"there is no job {id!r} in {it.queue.name!r}")
    if as_json:
        print_json([job_document(job) for job in jobs])
    else:
        print_text("\n\n".join(map(job_text, jobs)))
