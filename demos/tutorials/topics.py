"""Subjects have parts: ``*`` stands for one of them, ``>`` for all the rest.

python -m demos.tutorials.topics            # all, in this process
python -m demos.tutorials.topics kitchen    # or each in a terminal of its own
python -m demos.tutorials.topics heating
python -m demos.tutorials.topics archive
python -m demos.tutorials.topics sensors
"""

import sys

import mesh

PATTERNS = {"kitchen": "home.kitchen.*", "heating": "home.*.temp", "archive": "home.>"}


def listener(name: str) -> mesh.Node:
    node = mesh.Node(name)

    @node.subscriber(PATTERNS[name])
    def show(message: mesh.Message) -> None:
        sys.stdout.write(f"{name}: {message.subject} is {message.data}\n")

    return node


if sys.argv[-1] in PATTERNS:
    listener(sys.argv[-1]).run()
else:
    listeners = [listener(name).start() for name in PATTERNS if not sys.argv[1:]]
    with mesh.Node("sensors") as sensors:
        for name in PATTERNS:
            sensors.wait_for(name)  # wherever it is; 5 s at most
        for place in ("kitchen.temp", "hall.temp", "kitchen.door", "kitchen.oven.temp"):
            sys.stdout.write(f"{place} goes to {sensors.publish(f'home.{place}', 21)}\n")
    for node in listeners:
        node.drain()  # until all that came is handled
