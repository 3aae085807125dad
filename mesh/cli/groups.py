"""Groups of commands: their order in help, and what they are without a command: wrong usage."""

from __future__ import annotations

import click

from mesh.cli import errors

__all__ = ["OrderedGroup", "require_command"]


class OrderedGroup(click.Group):
    """Lists its commands in the order in which they were added: what belongs together."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


def require_command(context: click.Context) -> None:
    """For a group with ``invoke_without_command``: show the help and fail if there is none."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help(), err=True)
        context.exit(errors.WRONG_USAGE)
