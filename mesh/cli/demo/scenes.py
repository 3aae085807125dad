"""What the demo shows, in order. Each scene sends something and checks who reported what."""

from __future__ import annotations

from collections import Counter
from time import monotonic, sleep

import mesh
from mesh.cli.demo.departures import crash, leave, stop
from mesh.cli.demo.sharing import jobs, keys, queue_group
from mesh.cli.demo.stage import PATIENCE_SECONDS, START_SECONDS, Scene, Stage

__all__ = ["SCENES"]

ROLES = (*("calc",) * 5, "display", "archive")
"""Of five replicas three are killed and one leaves."""

BALANCED_CALLS = 60
BROADCASTS = 20

POLL_SECONDS = 0.02
"""Between looks whether all have found each other."""


def meet(stage: Stage) -> None:
    began = monotonic()
    stage.fleet.start(ROLES, START_SECONDS)
    node = stage.node
    wanted = {process.id for process in stage.fleet.processes}
    deadline = monotonic() + PATIENCE_SECONDS
    while (found := {peer.id for peer in node.peers()}) < wanted and monotonic() < deadline:
        sleep(POLL_SECONDS)
    took = monotonic() - began
    sources = ", ".join(
        f"{name} is {state.status} {state.reason}".strip()
        for name, state in node.discovery().items()
    )
    stage.has_met = stage.check(
        f"{len(ROLES)} processes started, and all were found",
        found == wanted,
        f"{len(found)} nodes after {took:.2f} s, "
        + ("Python's own start included" if found == wanted else f"by discovery: {sources}"),
    )
    if not stage.has_met:
        return
    views = _views(stage, deadline)
    stage.check(
        f"each of them sees the {len(ROLES)} others: all are linked with all",
        set(views) == {len(ROLES)},
        ", ".join(str(number) for number in views),
    )


def _views(stage: Stage, deadline: float) -> list[int]:
    """How many others each process sees, asked until it sees all of them or time is up."""
    views = []
    for process in stage.fleet.processes:
        service = stage.node.service(process.role, peer=stage.peer(process))
        while (number := service.others()) < len(ROLES) and monotonic() < deadline:
            sleep(POLL_SECONDS)
        views.append(number)
    return views


def call(stage: Stage) -> None:
    node = stage.node
    began = monotonic()
    result = node.call("calc.add", 2, b=3)
    took_ms = (monotonic() - began) * 1e3
    stage.check("calc.add(2, b=3) is 5", result == 5, f"{result!r} after {took_ms:.1f} ms")
    served = Counter(node.call("calc.who") for _ in range(BALANCED_CALLS))
    replicas = {process.id for process in stage.fleet.of("calc")}
    shares = ", ".join(str(number) for _, number in served.most_common())
    stage.check(
        f"{BALANCED_CALLS} calls were spread over all {len(replicas)} replicas of calc",
        set(served) == replicas,
        shares,
    )
    chosen = stage.fleet.of("calc")[0]
    answer = node.service("calc", peer=stage.peer(chosen)).who()
    stage.check("a call can name the one node to serve it", answer == chosen.id, str(chosen))


def call_in_vain(stage: Stage) -> None:
    node = stage.node
    try:
        seen = repr(node.call("calc.divide", 1, 0))
        is_told = False
    except mesh.RemoteError as error:
        seen, is_told = str(error), error.type == "ZeroDivisionError"
    stage.check("what a method raises reaches its caller", is_told, seen)
    began = monotonic()
    try:
        seen = repr(node.service("nowhere", timeout=PATIENCE_SECONDS, wait=0).method())
        is_told = False
    except mesh.NoProvider:
        took = monotonic() - began
        seen, is_told = f"NoProvider after {took * 1e3:.1f} ms", took < PATIENCE_SECONDS
    stage.check("a call that nobody can serve does not wait for its timeout", is_told, seen)


def publish(stage: Stage) -> None:
    node = stage.node
    counts = [
        node.publish("sensors.kitchen.temp", 21.5),
        node.publish("sensors.cellar.humidity", 60),
    ]
    stage.mark()
    (display,), (archive,) = stage.fleet.of("display"), stage.fleet.of("archive")
    stage.check(
        "'sensors.*.temp' got the temperature and nothing else",
        display.got("sensor") == [21.5],
        f"{display} got {display.got('sensor')}",
    )
    stage.check(
        "'sensors.>' got both, in the order they were sent",
        archive.got("sensor") == [21.5, 60],
        f"{archive} got {archive.got('sensor')}",
    )
    stage.check(
        "publish() told to how many nodes each went",
        counts == [2, 1],
        " and ".join(str(number) for number in counts),
    )


def subscribe(stage: Stage) -> None:
    node = stage.node
    with node.subscribe("results.>") as results:
        numbers = [3, 5, 7]
        for number in numbers:
            node.call("calc.square", number)
        got = []
        for _ in numbers:
            try:
                got.append(results.get(timeout=PATIENCE_SECONDS).data)
            except mesh.Timeout:
                break
        stage.check(
            "this node subscribed, and got what the replicas published",
            sorted(got) == [number * number for number in numbers],
            ", ".join(str(value) for value in got) or "nothing",
        )


def broadcast(stage: Stage) -> None:
    wanted = list(range(BROADCASTS))
    counts = {stage.node.broadcast("workers", number) for number in wanted}
    stage.mark()
    members = stage.fleet.of("calc")
    got = {str(process): process.got("broadcast") for process in stage.fleet.running}
    of_members = [got.pop(str(process)) for process in members]
    stage.check(
        f"each of the {len(members)} members got all {BROADCASTS}, exactly once and in order",
        all(numbers == wanted for numbers in of_members) and counts == {len(members)},
        ", ".join(str(len(numbers)) for numbers in of_members),
    )
    stage.check(
        "nobody else got any",
        not any(got.values()),
        ", ".join(f"{name}: {len(numbers)}" for name, numbers in got.items()),
    )


def send(stage: Stage) -> None:
    chosen, *others = stage.fleet.of("calc")
    is_subscribed = stage.node.send(stage.peer(chosen), "notes", "for you alone")
    stage.mark()
    stage.check(
        "the chosen one of the replicas got it, once",
        is_subscribed and chosen.got("send") == ["for you alone"],
        f"{chosen} got {chosen.got('send')}",
    )
    stage.check(
        "the other replicas did not, though they listen to the same subject",
        not any(process.got("send") for process in others),
        ", ".join(f"{process} got {len(process.got('send'))}" for process in others),
    )


SCENES: tuple[Scene, ...] = (
    Scene(
        "Nodes find each other",
        "Seven processes start. None is told where the others are, or that there are any.",
        'node = mesh.Node("calc")',
        meet,
    ),
    Scene(
        "Calls",
        "Nodes of one name are replicas of one service; each call goes to one of them.",
        'node.call("calc.add", 2, b=3)',
        call,
    ),
    Scene(
        "Calls that fail",
        "A call always ends: with a value, or with an error that says why.",
        'node.call("calc.divide", 1, 0)',
        call_in_vain,
    ),
    Scene(
        "Publish and subscribe",
        "The display listens to 'sensors.*.temp', the archive to 'sensors.>'.",
        'node.publish("sensors.kitchen.temp", 21.5)',
        publish,
    ),
    Scene(
        "A subscription",
        "Messages can be iterated as well as handled.",
        'with node.subscribe("results.>") as results: ...',
        subscribe,
    ),
    Scene(
        "Broadcast",
        "The replicas are the members of the group 'workers'.",
        'node.broadcast("workers", 1)',
        broadcast,
    ),
    Scene(
        "Send",
        "All replicas listen to 'notes'; one of them is sent a message.",
        'node.send(peer, "notes", "for you alone")',
        send,
    ),
    Scene(
        "One of many",
        "The replicas are a crew: each job goes to one of them. One gets SIGKILL in mid-job.",
        'node.groupcast("crew", job)',
        jobs,
    ),
    Scene(
        "A queue group",
        "The replicas that are left share the orders; the archive gets a copy of each as well.",
        '@node.subscriber("orders.>", group="billing")',
        queue_group,
    ),
    Scene(
        "Keys and owners",
        "A key belongs to one of the replicas. All nodes know which, without asking anybody.",
        'node.service("calc", key="user:0").who()',
        keys,
    ),
    Scene(
        "A node is killed",
        "Calls are under way all the time when one replica gets SIGKILL.",
        'node.service("calc", retry=True).work()',
        crash,
    ),
    Scene(
        "A node leaves",
        "Another replica says goodbye and exits.",
        "for event in node.watch(): ...",
        leave,
    ),
    Scene("The end", "The rest leave as well.", "", stop),
)
