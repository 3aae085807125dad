"""The commands of ``meshctl``, in the order of their help."""

from __future__ import annotations

import click

from mesh.cli.commands.bench import bench
from mesh.cli.commands.ca import ca
from mesh.cli.commands.call import call
from mesh.cli.commands.completion import completion
from mesh.cli.commands.config import config
from mesh.cli.commands.demo import demo
from mesh.cli.commands.describe import describe
from mesh.cli.commands.discovery import discovery
from mesh.cli.commands.doctor import doctor
from mesh.cli.commands.drain import drain
from mesh.cli.commands.expose import expose
from mesh.cli.commands.forward import forward
from mesh.cli.commands.groupcast import groupcast
from mesh.cli.commands.identity import identity
from mesh.cli.commands.invite import invite
from mesh.cli.commands.iterate import iterate
from mesh.cli.commands.join import join
from mesh.cli.commands.keygen import keygen
from mesh.cli.commands.log_level import log_level
from mesh.cli.commands.owner import owner
from mesh.cli.commands.peers import peers
from mesh.cli.commands.ping import ping
from mesh.cli.commands.policy import policy
from mesh.cli.commands.publish import broadcast, pub
from mesh.cli.commands.queue_command import queue
from mesh.cli.commands.receive import receive
from mesh.cli.commands.revoke import revoke
from mesh.cli.commands.rotate import rotate
from mesh.cli.commands.send import send
from mesh.cli.commands.services import services
from mesh.cli.commands.subscribe import sub
from mesh.cli.commands.survey import survey
from mesh.cli.commands.tap import tap
from mesh.cli.commands.top import top
from mesh.cli.commands.traces import trace
from mesh.cli.commands.watch import watch
from mesh.cli.commands.work import work

__all__ = ["COMMANDS"]

COMMANDS: tuple[click.Command, ...] = (
    peers,
    watch,
    ping,
    top,
    services,
    describe,
    discovery,
    doctor,
    trace,
    tap,
    owner,
    call,
    survey,
    iterate,
    pub,
    sub,
    broadcast,
    groupcast,
    work,
    queue,
    expose,
    forward,
    send,
    receive,
    bench,
    drain,
    log_level,
    keygen,
    rotate,
    ca,
    invite,
    join,
    revoke,
    identity,
    policy,
    config,
    completion,
    demo,
)
