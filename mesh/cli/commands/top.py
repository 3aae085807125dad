"""``meshctl top``: what all nodes do now, as a table that is kept up to date."""

from __future__ import annotations

import asyncio
import math
import os
import signal
import sys
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

import mesh
from mesh.cli import errors
from mesh.cli.completion import complete_peers
from mesh.cli.loops import run_until_signal
from mesh.cli.options import Options, json_option, mesh_options, pass_options
from mesh.cli.output import print_json
from mesh.cli.peer_names import the_one

if TYPE_CHECKING:
    from mesh.cli.top.looking import Looker
    from mesh.cli.top.viewer import Viewer

__all__ = ["top"]

VIEW_NAMES = ("nodes", "methods", "links", "listening")

DEFAULT_INTERVAL = 2.0
LEAST_INTERVAL = 0.2
MOST_INTERVAL = 3600.0

FIRST_INTERVAL = 1.0
"""Seconds until there are rates for the first time: nobody waits long to see something."""

EPILOG = """\b
Examples:
  meshctl top                                 live; ? shows the keys
  meshctl top --sort p99 --filter billing
  meshctl top --view links --node calc
  meshctl top --once                          a table, after one interval
  meshctl top --json --interval 10 >> mesh.jsonl
  meshctl top --once --json | jq '.rows[] | select(.errors > 0) | .node'
"""


def _check_interval(context: click.Context, parameter: click.Parameter, value: float) -> float:
    if not (math.isfinite(value) and LEAST_INTERVAL <= value <= MOST_INTERVAL):
        text = f"give seconds from {LEAST_INTERVAL:g} to {MOST_INTERVAL:g}"
        raise click.BadParameter(text, context, parameter)
    return value


@click.command(epilog=EPILOG, short_help="Show what all nodes do now.")
@click.option(
    "--interval",
    metavar="SECONDS",
    type=float,
    default=DEFAULT_INTERVAL,
    callback=_check_interval,
    help=f"Seconds between looks. Default: {DEFAULT_INTERVAL:g}.",
)
@click.option("--once", is_flag=True, help="Print what one interval brought, and end.")
@click.option(
    "--view",
    metavar="VIEW",
    type=click.Choice(VIEW_NAMES),
    default="nodes",
    help=f"What to begin with: {', '.join(VIEW_NAMES)}. Default: nodes.",
)
@click.option(
    "--node",
    "wanted",
    metavar="NODE",
    shell_complete=complete_peers,
    help="Whose links: a name, an instance or an id.",
)
@click.option(
    "--sort",
    metavar="COLUMN",
    default="trouble",
    help="Sort by this column, as --json calls it; with a - behind it the other way round.",
)
@click.option("--filter", "words", metavar="WORDS", default="", help="Show what has these words.")
@click.option("--all", "show_all", is_flag=True, help="Observers, the failed and the left too.")
@json_option("a JSON object per interval and line; with --once, one")
@mesh_options
@pass_options
def top(
    options: Options,
    interval: float,
    once: bool,
    view: str,
    wanted: str | None,
    sort: str,
    words: str,
    show_all: bool,
    as_json: bool,
) -> int:
    """Show what all nodes do now: calls and messages a second, latencies, errors, what waits and
    what was lost.

    What needs a look stands first: ! before a node that is lost or silent, * before one with
    errors, losses, calls in line, or that drains or denies the question. It asks each node once an
    interval, for no more than the view shows, and so works with a hundred. Where stdout is no
    terminal it is as with --once.
    """
    from mesh.cli.top.viewer import Viewer

    viewer = Viewer(view, words=words, show_all=show_all)
    _sort(viewer, sort)
    if wanted is not None and view != "links":
        raise click.UsageError("--node is for --view links")
    return run_until_signal(_look(options, viewer, wanted, interval, once, as_json))


def _sort(viewer: Viewer, sort: str) -> None:
    from mesh.cli.top.table import TROUBLE
    from mesh.cli.top.viewer import VIEWS

    viewer.sort, viewer.is_reversed = sort.removesuffix("-"), sort.endswith("-")
    known = [TROUBLE, *(column.key for column in VIEWS[viewer.view].columns)]
    if viewer.sort not in known:
        raise click.UsageError(f"--sort {sort}: give one of {', '.join(known)}")


async def _look(
    options: Options,
    viewer: Viewer,
    wanted: str | None,
    interval: float,
    once: bool,
    as_json: bool,
) -> None:
    from mesh.cli.top.looking import Looker

    is_live = not (as_json or once) and sys.stdout.isatty()
    with ExitStack() as stack:
        live = _Live(viewer, interval, stack) if is_live else None
        async with options.async_node() as node:
            # On the screen those that are late come later.
            patience = min(options.timeout, FIRST_INTERVAL) if is_live else options.timeout
            await node.wait_for(timeout=patience)
            if wanted is not None:
                advice = "'meshctl peers --all' lists them"
                peer = the_one(node.peers(all=True), wanted, among="nodes", advice=advice)
                viewer.node = peer.id
            looker = Looker(node)
            if live is not None:
                await live.run(node, looker)
            else:
                await _print(node, looker, viewer, interval, as_json and not once, as_json)


async def _print(
    node: mesh.AsyncNode,
    looker: Looker,
    viewer: Viewer,
    interval: float,
    goes_on: bool,
    as_json: bool,
) -> None:
    loop = asyncio.get_running_loop()
    due = loop.time()
    await looker.look(viewer.parts, interval, show_all=viewer.show_all)
    while True:
        due = max(due + interval, loop.time())
        await asyncio.sleep(due - loop.time())
        await looker.look(viewer.parts, interval, show_all=viewer.show_all)
        if as_json:
            print_json(_document(node, looker, viewer, interval), is_line=goes_on)
            sys.stdout.flush()
        else:
            _print_table(node, looker, viewer, interval)
        if not goes_on:
            return


def _print_table(node: mesh.AsyncNode, looker: Looker, viewer: Viewer, interval: float) -> None:
    from mesh.cli.output import make_console
    from mesh.cli.top.screen import print_lines

    seen = looker.seen(show_all=viewer.show_all)
    if not seen:
        errors.note(f"no node in the mesh {node.mesh!r}; 'meshctl peers' says where was looked")
        return
    width = make_console().width
    print_lines(viewer.screen(seen, f"mesh {node.mesh}", width, None))


def _document(
    node: mesh.AsyncNode, looker: Looker, viewer: Viewer, interval: float
) -> dict[str, Any]:
    from mesh.cli.top.nodes import sums
    from mesh.cli.top.viewer import documents

    seen = looker.seen(show_all=viewer.show_all)
    return {
        "time": datetime.now(UTC),
        "mesh": node.mesh,
        "view": viewer.view,
        "interval": interval,
        "sums": sums(seen),
        "rows": documents(viewer.rows(seen)),
    }


class _Live:
    """The screen that follows the nodes and the keys. The terminal is given back by ``stack``."""

    def __init__(self, viewer: Viewer, interval: float, stack: ExitStack) -> None:
        from mesh.cli.top.keys import raw_keys
        from mesh.cli.top.screen import full_screen

        self._viewer = viewer
        self._interval = interval
        self._is_due = asyncio.Event()
        self._is_over = False
        self._node: mesh.AsyncNode
        self._looker: Looker
        self._keys = stack.enter_context(raw_keys())
        self._screen = stack.enter_context(full_screen())
        self._screen.draw([[("looking for nodes ...", 0)]])

    async def run(self, node: mesh.AsyncNode, looker: Looker) -> None:
        """Until q, or a signal."""
        self._node, self._looker = node, looker
        loop = asyncio.get_running_loop()
        if self._keys is not None:
            loop.add_reader(self._keys, self._on_keys, self._keys)
        loop.add_signal_handler(signal.SIGWINCH, self._draw)
        try:
            await self._follow()
        finally:
            loop.remove_signal_handler(signal.SIGWINCH)
            if self._keys is not None:
                loop.remove_reader(self._keys)

    async def _follow(self) -> None:
        viewer = self._viewer
        looks = 0
        while not self._is_over:
            self._is_due.clear()
            began = asyncio.get_running_loop().time()
            if not viewer.is_paused:
                show_all = viewer.show_all
                await self._looker.look(viewer.parts, self._interval, show_all=show_all)
                looks += 1
            self._draw()
            interval = min(self._interval, FIRST_INTERVAL) if looks < 2 else self._interval
            try:
                due = began + interval - asyncio.get_running_loop().time()
                await asyncio.wait_for(self._is_due.wait(), max(due, 0.0))
            except TimeoutError:
                continue

    def _on_keys(self, descriptor: int) -> None:
        from mesh.cli.top.keys import MAX_BYTES, decode
        from mesh.cli.top.viewer import LOOK, QUIT

        try:
            data = os.read(descriptor, MAX_BYTES)
        except BlockingIOError:
            return
        for key in decode(data):
            what = self._viewer.press(key)
            self._is_over = self._is_over or what == QUIT
            if what in (LOOK, QUIT):
                self._is_due.set()
        if not data:  # the terminal has gone
            self._is_over = True
            self._is_due.set()
        self._draw()

    def _draw(self) -> None:
        width, height = self._screen.size
        viewer = self._viewer
        seen = self._looker.seen(show_all=viewer.show_all)
        title = f"mesh {self._node.mesh}"
        self._screen.draw(viewer.screen(seen, title, width, height))
