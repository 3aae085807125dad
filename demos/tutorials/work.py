"""Jobs for a group of workers: each goes to one of them, and the slow one gets fewer.

python -m demos.tutorials.work          # all, in this process
python -m demos.tutorials.work quick    # or each in a terminal of its own, several if you like
python -m demos.tutorials.work slow     # kill one with jobs in hand: the others get them
python -m demos.tutorials.work boss
"""

import sys
import time

import mesh

SECONDS = {"quick": 0.02, "slow": 0.2}


def worker(name: str) -> mesh.Node:
    node = mesh.Node(name)

    @node.member("workers")
    def work(job: mesh.Message) -> None:
        time.sleep(SECONDS[name])
        sys.stdout.write(f"{name}: job {job.data} is done\n")

    return node


if sys.argv[-1] in SECONDS:
    worker(sys.argv[-1]).run()
else:
    workers = [worker(name).start() for name in SECONDS if not sys.argv[1:]]
    with mesh.Node("boss") as boss:
        boss.wait_for(group="workers", count=2)
        given = [boss.groupcast("workers", job).name for job in range(1, 13)]
        boss.flush(timeout=30)  # until each job is done
        print(f"boss: all are done, {given.count('slow')} of 12 by the slow one")
