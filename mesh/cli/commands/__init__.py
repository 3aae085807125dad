"""The commands of ``meshctl``, in the order of their help."""

from __future__ import annotations

import click

from mesh.cli.commands.call import call
from mesh.cli.commands.demo import demo
from mesh.cli.commands.keygen import keygen
from mesh.cli.commands.peers import peers
from mesh.cli.commands.publish import broadcast, pub
from mesh.cli.commands.services import services
from mesh.cli.commands.subscribe import sub

__all__ = ["COMMANDS"]

COMMANDS: tuple[click.Command, ...] = (peers, services, call, pub, sub, broadcast, keygen, demo)
