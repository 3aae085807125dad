"""How a sender knows: a publish counts receivers, a groupcast is kept until it is acknowledged.

python -m demos.tutorials.confirms         # all, in this process
python -m demos.tutorials.confirms ana     # or each in a terminal of its own
python -m demos.tutorials.confirms ben
python -m demos.tutorials.confirms send
"""

import sys

import mesh


def worker(name: str) -> mesh.Node:
    node = mesh.Node(name)

    @node.member("jobs")
    def paint(job: mesh.Message) -> None:
        sys.stdout.write(f"{name}: {job.data}, redelivered: {job.redelivered}\n")
        if not job.redelivered:
            node.close()  # gone in the middle of it; `raise mesh.Refuse` would pass it on, too

    return node


if sys.argv[-1] in ("ana", "ben"):
    worker(sys.argv[-1]).run()
else:
    workers = [worker(name).start() for name in ("ana", "ben") if not sys.argv[1:]]
    with mesh.Node("sender") as sender:
        print(f"sender: a publish goes to {sender.publish('jobs', 'door')}")
        sender.wait_for(group="jobs", count=2)
        sys.stdout.write(f"sender: a groupcast goes to {sender.groupcast('jobs', 'door').name}\n")
        sender.flush()  # until a handler has returned at a member that is there
        print("sender: it is acknowledged")
