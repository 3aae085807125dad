"""The scenes in which one of many gets a message: jobs, a queue group, and the owners of keys.

A worker is killed in the middle of a job that it never ends, so what it leaves behind is known.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from time import monotonic

import mesh
from mesh.cli.demo.crew import CREW, LONG_JOB
from mesh.cli.demo.stage import PATIENCE_SECONDS, Stage
from mesh.cli.fleet import Process, Trouble
from mesh.cli.text import count_of

__all__ = ["jobs", "keys", "queue_group"]

JOBS = 2 * LONG_JOB

ORDERS = 60

KEYS = [f"user:{number}" for number in range(100)]

STEPS = 20
"""Groupcasts of one key."""


def jobs(stage: Stage) -> None:
    workers = stage.fleet.of("calc")
    for number in range(LONG_JOB + 1):
        stage.node.groupcast(CREW, number, timeout=PATIENCE_SECONDS)
    victim = _busy_with_long_job(stage, workers)
    code = victim.kill()
    for number in range(LONG_JOB + 1, JOBS):
        stage.node.groupcast(CREW, number, timeout=PATIENCE_SECONDS)
    stage.node.flush(PATIENCE_SECONDS)
    stage.mark()
    shares = [len(process.got("job begun")) for process in workers]
    busy = sum(share > 0 for share in shares)
    stage.check(
        f"{JOBS} jobs were shared by {busy} of the {len(workers)} members of the group",
        busy > 1,
        ", ".join(str(share) for share in shares),
    )
    begun = Counter[int]()
    unmarked = Counter[int]()
    again = Counter[int]()
    for process in workers:
        for number, is_redelivered in process.got("job begun"):
            begun[number] += 1
            unmarked[number] += not is_redelivered
            if process is not victim:
                again[number] += is_redelivered
    unfinished = {n for n, _ in victim.got("job begun")} - set(victim.got("job done"))
    stage.check(
        f"{victim} was killed in the middle of job {LONG_JOB}, and another began it anew, marked",
        code < 0 and unfinished == {LONG_JOB} and again[LONG_JOB] == 1,
        f"{count_of(sum(again.values()), 'job')} marked 'redelivered'",
    )
    done = {number for process in workers for number in process.got("job done")}
    stage.check(
        "every job was done, and none was given to a second worker without the mark",
        done == set(range(JOBS)) and max(unmarked.values()) == 1,
        f"{len(done)} of {JOBS}, {sum(count > 1 for count in begun.values())} begun twice",
    )


def _busy_with_long_job(stage: Stage, workers: Iterable[Process]) -> Process:
    def busy() -> list[Process]:
        return [p for p in workers if any(n == LONG_JOB for n, _ in p.got("job begun"))]

    stage.fleet.wait_until(lambda: bool(busy()), PATIENCE_SECONDS)
    if not busy():
        raise Trouble(f"job {LONG_JOB} was not begun within {PATIENCE_SECONDS:g} s")
    return busy()[0]


def queue_group(stage: Stage) -> None:
    numbers = list(range(ORDERS))
    counts = {stage.node.publish("orders.new", number) for number in numbers}
    stage.node.flush(PATIENCE_SECONDS)
    stage.mark()
    members = stage.fleet.of("calc")
    billed = [process.got("billed") for process in members]
    (archive,) = stage.fleet.of("archive")
    stage.check(
        f"the queue group 'billing' got each of the {ORDERS} orders once, by one of its members",
        sorted(number for part in billed for number in part) == numbers,
        ", ".join(str(len(part)) for part in billed),
    )
    stage.check(
        "who subscribed without a group got all of them, in order",
        archive.got("order") == numbers,
        f"{archive} got {len(archive.got('order'))}",
    )
    stage.check(
        "publish() told of two receivers: one node, and one queue group",
        counts == {2},
        " and ".join(str(count) for count in counts),
    )


def keys(stage: Stage) -> None:
    node = stage.node
    ranked = {key: node.owners("calc", key) for key in KEYS}
    first, second = ranked[KEYS[0]][:2]
    shares = Counter(owners[0].id for owners in ranked.values())
    served = {key: node.service("calc", key=key).who() for key in KEYS}
    stage.check(
        f"{len(KEYS)} keys have their owners, and each call with a key was served by its owner",
        served == {key: owners[0].id for key, owners in ranked.items()},
        ", ".join(str(shares[process.id]) for process in stage.fleet.of("calc")),
    )
    owner = next(process for process in stage.fleet.of("calc") if process.id == first.id)
    for step in range(STEPS):
        node.groupcast(CREW, [KEYS[0], step], key=KEYS[0], timeout=PATIENCE_SECONDS)
    node.flush(PATIENCE_SECONDS)
    stage.mark()
    steps = [data for data in owner.got("job done") if isinstance(data, list)]
    stage.check(
        f"{STEPS} groupcasts of {KEYS[0]!r} were handled by its owner, in their order",
        steps == [[KEYS[0], step] for step in range(STEPS)],
        f"{owner} handled {len(steps)}",
    )
    _kill_owner(stage, owner, second, ranked)


def _kill_owner(
    stage: Stage, owner: Process, second: mesh.Peer, ranked: dict[str, list[mesh.Peer]]
) -> None:
    node = stage.node
    with node.watch() as events:
        killed_at = monotonic()
        owner.kill()
        told = stage.events_until(events, owner, mesh.PeerFailed, killed_at)
    stage.check(
        f"{owner}, who owned {KEYS[0]!r}, was killed: now {second} owns it, who was next",
        bool(told) and node.owner("calc", KEYS[0]).id == second.id,
        f"after {told[-1][0]:.0f} ms" if told else "no event",
    )
    now = {key: node.owner("calc", key).id for key in KEYS}
    heirs = {key: next(p.id for p in peers if p.id != owner.id) for key, peers in ranked.items()}
    moved = sum(now[key] != peers[0].id for key, peers in ranked.items())
    stage.check(
        "only its keys moved, each to whoever was next",
        now == heirs and 0 < moved == sum(p[0].id == owner.id for p in ranked.values()),
        f"{moved} of {len(KEYS)}",
    )
    served = {key: node.service("calc", key=key, retry=True).who() for key in KEYS}
    stage.check(
        "calls with a key go to the new owners",
        served == now,
        f"{sum(served[key] == now[key] for key in KEYS)} of {len(KEYS)}",
    )
