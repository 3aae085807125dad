"""``python -m demos.chat --nick ana``: the command line, and how a run of it ends.

Exit codes: 0 after /quit and SIGTERM, 1 when it failed, 2 for wrong usage and without Textual, 129
when its window was closed, 130 on Ctrl-C before the screen is there. Errors are one line.
"""

from __future__ import annotations

import asyncio
import getpass
import importlib.util
import logging
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import mesh
from demos.chat.files import DEFAULT_MAX_BYTES
from demos.chat.session import ChatError, Session
from demos.chat.text import clean_line, clean_nick

if TYPE_CHECKING:
    from demos.chat.app import ChatApp

__all__ = ["main"]

FAILED, WRONG_USAGE, INTERRUPTED = 1, 2, 130
MIB = 1024**2
MAX_KEY_BYTES = 4096


def _default_nick() -> str:
    try:
        return clean_nick(getpass.getuser())
    except (OSError, KeyError):  # no name for this user
        return "me"


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--nick", default=_default_nick, help="What you are called. Default: your login.")
@click.option("--room", "rooms", multiple=True, help="A room to enter; may be repeated.")
@click.option("--mesh", "mesh_name", default="chat", help="Only chats of one mesh meet.")
@click.option("--key", metavar="WORDS", help="Between machines: the same words at each (MESH_KEY).")
@click.option("--key-file", metavar="PATH", help="File whose first line is the key.")
@click.option("--seed", "seeds", metavar="HOST:PORT", multiple=True,
              help="A chat to dial where multicast does not reach; may be repeated.")  # fmt: skip
@click.option("--interface", "interfaces", metavar="NAME", multiple=True,
              help="A network interface to be found on; may be repeated.")  # fmt: skip
@click.option("--port", default=0, help="The port to listen on, for others' --seed.")
@click.option("--insecure", is_flag=True, default=None, flag_value=True,
              help="Go on the network without a key: anybody there can join.")  # fmt: skip
@click.option("--downloads", metavar="FOLDER", type=click.Path(path_type=Path, file_okay=False),
              default=Path("~/Downloads/mesh-chat"),
              help="Where files go. Default: ~/Downloads/mesh-chat.")  # fmt: skip
@click.option("--max-file", metavar="MIB", type=click.IntRange(min=0),
              default=DEFAULT_MAX_BYTES // MIB, show_default=True,
              help="The largest file to take.")  # fmt: skip
@click.option("--log", metavar="FILE", help="Write there what the node has to say.")
def chat(rooms: tuple[str, ...], key_file: str | None, log: str | None, **given: Any) -> None:
    """Chat with whoever is on this machine or, with a key, on the network."""
    if given["key"] is not None and key_file is not None:
        raise click.UsageError("give --key or --key-file, not both")
    if key_file is not None:
        given["key"] = _read_key(key_file)
    _configure_logging(log)
    session = Session(
        given["nick"],
        downloads=given["downloads"].expanduser(),
        max_file_bytes=given["max_file"] * MIB,
        mesh=given["mesh_name"],
        key=given["key"],
        seeds=given["seeds"],
        interfaces=given["interfaces"],
        port=given["port"],
        insecure=given["insecure"],
    )
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise click.UsageError("the chat needs a terminal to be seen in")
    asyncio.run(_chat(session, rooms or ("lobby",)))


async def _chat(session: Session, rooms: tuple[str, ...]) -> None:
    from demos.chat.app import ChatApp

    async with session:
        joined = [await session.join(room) for room in rooms]
        session.open(joined[0])
        app = ChatApp(session)
        screen = asyncio.create_task(app.run_async())
        with _ended_by_signals(app, session):
            try:
                await asyncio.shield(screen)
            except asyncio.CancelledError:  # the session failed: give the terminal back first
                app.exit()
                await screen
                raise
    if app.return_code:
        raise click.exceptions.Exit(app.return_code)


@contextmanager
def _ended_by_signals(app: ChatApp, session: Session) -> Iterator[None]:
    """SIGTERM is /quit. After SIGHUP there is no terminal that could be given back."""
    loop = asyncio.get_running_loop()
    ending: list[asyncio.Task[None]] = []

    async def hang_up() -> None:
        session.files.close()
        await session.node.close()
        os._exit(128 + signal.SIGHUP)

    loop.add_signal_handler(signal.SIGTERM, app.exit)
    loop.add_signal_handler(signal.SIGHUP, lambda: ending.append(loop.create_task(hang_up())))
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGTERM)
        loop.remove_signal_handler(signal.SIGHUP)


def _read_key(path: str) -> str:
    try:
        with Path(path).open("rb") as file:
            key = file.readline(MAX_KEY_BYTES).decode().strip()
    except OSError as error:
        raise click.UsageError(f"cannot read the key file {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        key = ""
    if not key:
        raise click.UsageError(f"the first line of {path} is no key")
    return key


def _configure_logging(path: str | None) -> None:
    """To a file or nowhere: whatever was printed would stand in the middle of the screen."""
    if path is None:
        logging.basicConfig(handlers=[logging.NullHandler()])
        return
    try:
        logging.basicConfig(filename=path, level=logging.INFO,
                            format="%(asctime)s %(levelname)s %(name)s: %(message)s")  # fmt: skip
    except OSError as error:
        raise click.UsageError(f"cannot write to {path}: {error.strerror}") from None


def main(arguments: list[str] | None = None) -> int:
    """Run one chat; returns the exit code."""
    if importlib.util.find_spec("textual") is None:
        return _complain("the chat needs Textual: pip install 'mesh-p2p[chat]'", WRONG_USAGE)
    try:
        result = chat.main(arguments, prog_name="python -m demos.chat", standalone_mode=False)
    except click.UsageError as error:
        return _complain(f"{error.format_message().rstrip('.')}; see --help", WRONG_USAGE)
    except (mesh.ConfigError, mesh.BadName, ChatError) as error:
        return _complain(str(error), WRONG_USAGE)
    except (mesh.MeshError, OSError) as error:
        return _complain(str(error), FAILED)
    except (KeyboardInterrupt, click.Abort):
        return INTERRUPTED
    return result if isinstance(result, int) else 0


def _complain(text: str, code: int) -> int:
    click.echo(f"chat: {clean_line(text, 500)}", err=True)
    return code


if __name__ == "__main__":
    sys.exit(main())
