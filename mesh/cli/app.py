"""The ``meshctl`` group, and how a run of it ends: exit codes, one-line errors, broken pipes."""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType
from typing import Any, NoReturn

import click

import mesh
from mesh.cli import errors
from mesh.cli.commands import COMMANDS
from mesh.cli.groups import OrderedGroup, require_command
from mesh.cli.loops import wipe_interrupt
from mesh.cli.options import mesh_options

__all__ = ["meshctl", "run"]

EPILOG = """\b
Examples:
  meshctl demo                             see it all work on this machine
  meshctl peers                            who is here
  meshctl call calc.add 2 3                call a method
  meshctl sub 'sensors.>'                  listen
  meshctl pub sensors.kitchen.temp 21.5    publish
  meshctl groupcast painters 7             give it to one of a group
  meshctl expose web 3000                  let the mesh connect to a server here
  meshctl forward 8080 web                 ... and get at it on another machine
  meshctl send film.mkv laptop             a file to who runs 'meshctl receive'
  meshctl --mesh lab --seed 10.0.0.7:5555 peers

The options of the mesh may stand before or after the command; only call, iterate, groupcast and
forward have a --key of their own, so there the mesh's key goes before the command. What is not
given comes from MESH_NAME, MESH_KEY, MESH_IDENTITY, MESH_SEEDS, MESH_HOST and MESH_INSECURE in the
environment, then from the profile (--profile, MESH_PROFILE, default_profile) in
~/.config/mesh/config.toml (XDG_CONFIG_HOME, MESH_CONFIG).

NO_COLOR is respected. Exit codes: 0 done, 1 failed, 2 wrong usage, 130 Ctrl-C.
"""


STDERR = 2
"""The highest of the three standard descriptors."""


class _Group(OrderedGroup):
    def invoke(self, ctx: click.Context) -> Any:
        """Run the command. A reader who had enough (``| head -1``) is no failure."""
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError:
            _drop_stdout()
            return errors.OK
        except KeyboardInterrupt:
            return errors.INTERRUPTED
        return result


@click.group(
    cls=_Group,
    epilog=EPILOG,
    invoke_without_command=True,
    no_args_is_help=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(mesh.__version__, prog_name="meshctl", message="%(prog)s %(version)s")
@mesh_options
@click.pass_context
def meshctl(context: click.Context) -> None:
    """See and use a mesh of nodes: call them, publish to them, listen to them."""
    require_command(context)


for _command in COMMANDS:
    meshctl.add_command(_command)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit code; the code never escapes as an exception."""
    _fill_standard_descriptors()
    signal.signal(signal.SIGTERM, _on_terminate)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else it is to be ignored
        signal.signal(signal.SIGINT, _on_interrupt)
    _configure_logging()
    try:
        code = meshctl.main(arguments, prog_name="meshctl", standalone_mode=False)
    except (KeyboardInterrupt, click.Abort):
        return errors.INTERRUPTED
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else errors.FAILED
    except (click.ClickException, mesh.MeshError, OSError) as error:
        errors.complain(errors.one_line(error))
        return errors.code_of(error)
    return code if isinstance(code, int) else errors.OK


def _on_terminate(number: int, frame: FrameType | None) -> NoReturn:
    """Leave as after Ctrl-C: say goodbye, stop what was started."""
    raise SystemExit(128 + number)


def _on_interrupt(number: int, frame: FrameType | None) -> NoReturn:
    wipe_interrupt()
    raise KeyboardInterrupt


def _fill_standard_descriptors() -> None:
    """A shell's ``>&-`` closes stdout. A socket that then got its number would be taken for it."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= STDERR:
        continue
    os.close(descriptor)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115  open until the end


def _configure_logging() -> None:
    """What the node warns of goes to stderr in the form of our own notes."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("meshctl: %(message)s"))
    handler.setLevel(logging.WARNING)
    logging.basicConfig(handlers=[handler])
    # What zeroconf says of sockets is in the state of the source, which `peers` shows.
    logging.getLogger("zeroconf").setLevel(logging.CRITICAL)


def _drop_stdout() -> None:
    """Nobody reads any more; without this the interpreter's last flush would fail again."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
