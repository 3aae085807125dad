"""``meshctl completion``: the script that makes a shell complete our words."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

__all__ = ["VARIABLE", "completion"]

VARIABLE = "_MESHCTL_COMPLETE"
"""With it in the environment, meshctl answers its own script's questions instead of working."""

EPILOG = """\b
Examples:
  eval "$(meshctl completion bash)"        in this shell, or in ~/.bashrc
  meshctl completion bash > ~/.local/share/bash-completion/completions/meshctl
  meshctl completion zsh > ~/.zfunc/_meshctl
  meshctl completion fish > ~/.config/fish/completions/meshctl.fish

For zsh the folder must be in fpath before compinit runs; in ~/.zshrc:
  fpath=(~/.zfunc $fpath); autoload -Uz compinit; compinit

Peers, methods, services and groups are completed by a look around in the mesh that the options
on the line, the environment or the profile name.
"""


@click.command(epilog=EPILOG, short_help="Print the completion script of a shell.")
@click.argument("shell", metavar="SHELL", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the script that completes meshctl's words in SHELL: bash (4.4 or later), zsh or fish.

    It completes commands, options, profiles and files, and the names of what is in the mesh.
    """
    kind = get_completion_class(shell)
    if kind is None:
        raise click.ClickException(f"no completion for {shell}")
    click.echo(kind(context.find_root().command, {}, "meshctl", VARIABLE).source())
