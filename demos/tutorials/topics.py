"""Subjects have parts: ``*`` stands for one of them, ``>`` for all the rest.

python -m demos.tutorials.topics            # all, in this process
python -m demos.tutorials.topics kitchen    # or each in a terminal of its own
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
        sensors.wait_for()  # until it is linked with all that it has heard of
        for place in ("kitchen.temp", "hall.temp", "kitchen.door", "kitchen.oven.temp"):
            count = sensors.publish(f"home.{place}", 21)
            sys.stdout.write(f"sensors: {place} goes to {count}\n")
    for node in listeners:
        node.drain()  # until all that came is handled
