"""What is published goes to all who listen.

python -m demos.tutorials.fanout            # all, in this process
python -m demos.tutorials.fanout ana        # or each in a terminal of its own
python -m demos.tutorials.fanout ben
python -m demos.tutorials.fanout cleo
python -m demos.tutorials.fanout publish
"""

import sys

import mesh

NAMES = ("ana", "ben", "cleo")


def listener(name: str) -> mesh.Node:
    node = mesh.Node(name)

    @node.subscriber("news")
    def hear(message: mesh.Message) -> None:
        sys.stdout.write(f"{name}: {message.data}\n")

    return node


if sys.argv[-1] in NAMES:
    listener(sys.argv[-1]).run()
else:
    listeners = [listener(name).start() for name in NAMES if not sys.argv[1:]]
    with mesh.Node("editor") as editor:
        for name in NAMES:
            editor.wait_for(name)  # wherever it is; 5 s at most
        count = editor.publish("news", "rain at noon")
        sys.stdout.write(f"editor: it goes to {count}\n")
    for node in listeners:
        node.drain()  # until all that came is handled
