"""Each listener gets the subjects that it asks for.

python -m demos.tutorials.routing            # all, in this process
python -m demos.tutorials.routing pager      # or each in a terminal of its own
python -m demos.tutorials.routing screen
python -m demos.tutorials.routing archive
python -m demos.tutorials.routing app
"""

import sys

import mesh

SUBJECTS = {"pager": "logs.error", "screen": "logs.info", "archive": "logs.error"}


def listener(name: str) -> mesh.Node:
    node = mesh.Node(name)

    @node.subscriber(SUBJECTS[name])
    def show(message: mesh.Message) -> None:
        sys.stdout.write(f"{name}: {message.subject}, {message.data}\n")

    return node


if sys.argv[-1] in SUBJECTS:
    listener(sys.argv[-1]).run()
else:
    listeners = [listener(name).start() for name in SUBJECTS if not sys.argv[1:]]
    with mesh.Node("app") as app:
        for name in SUBJECTS:
            app.wait_for(name)  # wherever it is; 5 s at most
        for subject, text in ("logs.info", "up"), ("logs.error", "no disk"), ("logs.debug", "a=1"):
            sys.stdout.write(f"app: {subject} goes to {app.publish(subject, text)}\n")
    for node in listeners:
        node.drain()  # until all that came is handled
