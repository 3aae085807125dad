"""``meshctl ping``: how far the Python of a peer is, and whether it answers at all.

All peers of a round are asked at the same time, each from a thread of its own, so one that is
silent holds up nobody but the next round.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from time import monotonic, sleep

import click

import mesh
from mesh.cli import errors
from mesh.cli.commands.peers import explain_nobody
from mesh.cli.completion import complete_peers
from mesh.cli.options import Options, json_option, mesh_options, pass_options
from mesh.cli.output import print_json, print_table, print_text, reader_is_gone
from mesh.cli.peer_names import matching
from mesh.cli.text import milliseconds

__all__ = ["ping"]

THREADS = 64
"""Peers that are asked at the same moment; more take turns."""

ROUNDS = 4
"""How often each is asked by default."""

EPILOG = """\b
Examples:
  meshctl ping                         every node, four times
  meshctl ping calc                    all replicas of calc
  meshctl ping 1a2b --count 0          until Ctrl-C
  meshctl ping --count 1 --timeout 0.5 --json | jq 'select(.error)'
"""


@click.command(epilog=EPILOG, short_help="Time a message to peers and back.")
@click.argument("wanted", metavar="[PEER]...", nargs=-1, shell_complete=complete_peers)
@click.option(
    "--count",
    metavar="N",
    type=click.IntRange(min=0),
    default=ROUNDS,
    help=f"Ask each N times. Default: {ROUNDS}; 0: until Ctrl-C.",
)
@click.option(
    "--interval",
    metavar="SECONDS",
    type=click.FloatRange(min=0),
    default=1.0,
    help="Between two rounds. Default: 1.",
)
@json_option("one JSON object per answer and line, then one per peer with the sums")
@mesh_options
@pass_options
def ping(
    options: Options, wanted: tuple[str, ...], count: int, interval: float, as_json: bool
) -> None:
    """Time a small message to each PEER and back; without PEER to every node.

    PEER is a name (all nodes of that name), an instance, an id, or at least four of its first
    digits. The answer comes from the node's own event loop: a node that is busy takes longer, one
    that is blocked does not answer. The exit code is 1 if one of them never answered.
    """
    # The node ends first: then nobody waits for an answer any more, and the threads end.
    with ThreadPoolExecutor(THREADS) as pool, options.node() as node:
        node.wait_for(timeout=options.timeout)
        scores = [_Score(peer) for peer in _find(node, wanted, options.timeout)]
        try:
            _rounds(node, pool, scores, options.timeout, count, interval, as_json)
        finally:
            _summarize(scores, as_json)
    silent = [str(score.peer) for score in scores if not score.answers]
    if silent:
        raise click.ClickException(
            f"no answer from {', '.join(silent)}; 'meshctl peers --all' shows their states"
        )


class _Score:
    """What became of the pings to one peer; times in seconds."""

    def __init__(self, peer: mesh.Peer) -> None:
        self.peer = peer
        self.sent = 0
        self.answers = 0
        self.total = 0.0
        self.least = float("inf")
        self.greatest = 0.0

    def answered(self, seconds: float) -> None:
        self.answers += 1
        self.total += seconds
        self.least = min(self.least, seconds)
        self.greatest = max(self.greatest, seconds)

    @property
    def mean(self) -> float:
        return self.total / self.answers


def _find(node: mesh.Node, wanted: Sequence[str], waited: float) -> list[mesh.Peer]:
    """The peers that are meant, nobody twice. Raises ClickException where one is nobody."""
    if not wanted:
        everybody = sorted(node.peers(), key=lambda peer: (peer.name, peer.id))
        if not everybody:
            explain_nobody(node, waited)
            raise click.ClickException("there is nobody to ping")
        return everybody
    found: dict[str, mesh.Peer] = {}
    for word in wanted:
        meant = matching(node.peers(all=True), word)
        if not meant:
            raise click.ClickException(
                f"{word!r} is none of the peers; 'meshctl peers --all' lists them"
            )
        found |= {peer.id: peer for peer in meant}
    return list(found.values())


def _rounds(
    node: mesh.Node,
    pool: ThreadPoolExecutor,
    scores: Sequence[_Score],
    timeout: float,
    count: int,
    interval: float,
    as_json: bool,
) -> None:
    number = 0
    while True:
        number += 1
        began = monotonic()
        asked: dict[Future[float], _Score] = {}
        for score in scores:
            score.sent += 1
            asked[pool.submit(node.ping, score.peer, timeout=timeout)] = score
        for future in as_completed(asked):
            _tell(asked[future], number, future, as_json)
        if number == count or reader_is_gone():
            return
        sleep(max(0.0, began + interval - monotonic()))


def _tell(score: _Score, number: int, answer: Future[float], as_json: bool) -> None:
    seconds, problem = None, ""
    try:
        seconds = answer.result()
        score.answered(seconds)
    except mesh.MeshError as error:
        problem = errors.plain(error)
    if as_json:
        document = {"type": "ping", "number": number, "peer": _who(score.peer)}
        print_json(document | {"seconds": seconds, "error": problem or None}, is_line=True)
    else:
        outcome = problem if seconds is None else milliseconds(seconds)
        print_text(f"{score.peer}  {number}  {outcome}")


def _who(peer: mesh.Peer) -> dict[str, str]:
    return {"id": peer.id, "name": peer.name}


def _summarize(scores: Sequence[_Score], as_json: bool) -> None:
    asked = [score for score in scores if score.sent]
    if as_json:
        for score in asked:
            answered = score.answers > 0
            document = {
                "type": "summary",
                "peer": _who(score.peer),
                "sent": score.sent,
                "lost": score.sent - score.answers,
                "min": score.least if answered else None,
                "avg": score.mean if answered else None,
                "max": score.greatest if answered else None,
            }
            print_json(document, is_line=True)
    elif asked:
        print_table(
            ("peer", "address", "sent", "lost", "min", "avg", "max"),
            [_row(score) for score in asked],
            details=("address",),
        )


def _row(score: _Score) -> tuple[str, ...]:
    lost = score.sent - score.answers
    times = (score.least, score.mean, score.greatest) if score.answers else ()
    return (
        str(score.peer),
        score.peer.address,
        str(score.sent),
        f"{lost} ({lost / score.sent:.0%})" if lost else "0",
        *(milliseconds(seconds) for seconds in times),
        *("" for _ in range(3 - len(times))),
    )
