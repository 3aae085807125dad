"""``meshctl sub``: print messages as they come, or how many come.

The subscription is made before the others are waited for: whoever is met afterwards learns of it
with the first words exchanged, so when the note says "listening" all who are there know.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from time import monotonic
from typing import Literal

import click

import mesh
from mesh.cli import errors
from mesh.cli.options import Options, json_option, mesh_options, pass_options
from mesh.cli.output import print_data, print_json, print_text
from mesh.cli.streams import until_gone
from mesh.cli.text import bytes_of, count_of, rate_of
from mesh.cli.values import size_of, to_json, to_text

__all__ = ["sub"]

RATE_EVERY = 1.0
"""Seconds that one line of ``--rate`` is about."""

EPILOG = """\b
Examples:
  meshctl sub 'sensors.*.temp'
  meshctl sub 'orders.>' --json | jq .data
  meshctl sub log.error --count 1          wait for one, then end
  meshctl sub photos.new --raw --count 1 > photo.jpg
  meshctl sub 'sensors.>' --rate           how many come, not what
  meshctl sub 'orders.>' --group billing   take a share of a queue group's work

In a pattern * stands for one token and > for all the rest; quote it for the shell.
"""


@click.command(epilog=EPILOG, short_help="Print messages as they come.")
@click.argument("pattern")
@click.option("--count", metavar="N", type=click.IntRange(min=1), help="End after N messages.")
@click.option(
    "--group",
    metavar="NAME",
    help="As one of this queue group: what is printed here, nobody else of the group gets.",
)
@click.option(
    "--policy",
    type=click.Choice(["drop_oldest", "latest", "block"]),
    default="drop_oldest",
    help="What gives way when messages come faster than they are printed: the oldest; all but the "
    "newest of each subject; or nothing, and publishers wait.",
)
@click.option(
    "--raw",
    "is_raw",
    is_flag=True,
    help="Print data only: bytes unchanged, else a line of text, or of JSON.",
)
@click.option(
    "--rate",
    "is_rate",
    is_flag=True,
    help="Print how much comes each second, not the messages. Bytes are those of the data.",
)
@json_option("one JSON object per message, or per second with --rate, and line")
@mesh_options
@pass_options
def sub(
    options: Options,
    pattern: str,
    count: int | None,
    group: str | None,
    policy: Literal["drop_oldest", "latest", "block"],
    is_raw: bool,
    is_rate: bool,
    as_json: bool,
) -> None:
    """Print the messages that are published to PATTERN, until Ctrl-C.

    What was lost on the way, and in the end how much came, is told on stderr.
    """
    if is_raw and (as_json or is_rate):
        raise click.UsageError("--raw goes with neither --json nor --rate")
    # Who takes work is no observer.
    with (
        options.node(observer=group is None) as node,
        node.subscribe(pattern, group=group, policy=policy, timeout=options.timeout) as messages,
    ):
        node.wait_for(timeout=options.timeout)
        _tell_start(node, pattern, group, messages.unconfirmed)
        tally = _Tally(is_rate, as_json)
        try:
            for message in until_gone(messages, tally.look):
                tally.add(message, messages.missed)
                if not is_rate:
                    _print(message, as_json, is_raw)
                if tally.messages == count:
                    break
        finally:
            tally.end()


def _tell_start(
    node: mesh.Node, pattern: str, group: str | None, unconfirmed: list[mesh.Peer]
) -> None:
    here = count_of(len(node.peers()), "node")
    share = f" as one of {group}" if group is not None else ""
    errors.note(f"listening to {pattern!r}{share} among {here}; Ctrl-C ends")
    if unconfirmed:
        names = ", ".join(str(peer) for peer in unconfirmed)
        errors.note(f"not confirmed by {names}: what they publish may be missed")


@dataclass
class _Tally:
    """What came, in all and in this second."""

    is_rate: bool
    as_json: bool
    messages: int = 0
    size: int = 0
    missed: int = 0
    _too_fast: int = 0
    _on_the_way: int = 0
    _began: float = field(default_factory=monotonic)
    """When the first came; before it, when listening began."""
    _second: tuple[float, int, int, int] | None = None

    def add(self, message: mesh.Message, missed: int) -> None:
        """Count one; ``missed`` are all that the subscription did not get so far."""
        if not self.messages:
            self._began = monotonic()
        self.look()
        self.messages += 1
        self.size += size_of(message.data)
        if message.missed:
            self._on_the_way += message.missed
            text = count_of(message.missed, "message")
            self._note(f"missed {text} from {message.sender} on the way here")
        too_fast = missed - self._on_the_way
        if too_fast > self._too_fast:
            text = count_of(too_fast - self._too_fast, "message")
            self._too_fast = too_fast
            self._note(f"missed {text}: they came faster than they were printed")
        # What its senders dropped is in both; what a broken link swallowed is no subscription's.
        self.missed = max(missed, self._on_the_way)

    def _note(self, text: str) -> None:
        if not self.is_rate:
            errors.note(text)

    def look(self) -> None:
        """Print the rate if a second is over."""
        if not self.is_rate:
            return
        if self._second is None:
            self._begin_second()
        elif monotonic() - self._second[0] >= RATE_EVERY:
            self._print_second()
            self._begin_second()

    def _begin_second(self) -> None:
        self._second = (monotonic(), self.messages, self.size, self.missed)

    def _print_second(self) -> None:
        if self._second is None:
            return
        began, messages, size, missed = self._second
        seconds = max(monotonic() - began, 1e-6)
        messages, size, missed = self.messages - messages, self.size - size, self.missed - missed
        if self.as_json:
            document = {"seconds": round(seconds, 6), "messages": messages, "bytes": size}
            print_json(document | {"missed": missed, "total": self.messages}, is_line=True)
            return
        rate, speed = rate_of(messages / seconds), bytes_of(size / seconds)
        print_text(f"{rate}  {speed}/s  missed {missed:,}  total {self.messages:,}")

    def end(self) -> None:
        """The second that had begun, and the summary."""
        if self.is_rate and self._second is not None and self.messages > self._second[1]:
            self._print_second()
        seconds = monotonic() - self._began
        speed = f", {rate_of(self.messages / seconds)}" if seconds > 0 and self.messages else ""
        missed = f", {self.missed:,} missed" if self.missed else ""
        what = count_of(self.messages, "message")
        errors.note(f"{what}, {bytes_of(self.size)} in {seconds:.1f} s{speed}{missed}")


def _print(message: mesh.Message, as_json: bool, is_raw: bool) -> None:
    if is_raw:
        print_data(message.data)
        return
    if as_json:
        document = {
            "subject": message.subject,
            "data": message.data,
            "headers": message.headers,
            "kind": message.kind,
            "sender": {"id": message.sender.id, "name": message.sender.name},
            "missed": message.missed,
        }
        print_json(document, is_line=True)
        return
    headers = f"  {to_json(message.headers)}" if message.headers else ""
    print_text(f"{message.subject}  {message.sender}  {to_text(message.data)}{headers}")
