"""Jobs that are put before anybody is there, and tried until they are done.

python -m demos.tutorials.jobs           # all, in this process
python -m demos.tutorials.jobs mailer    # or each in a terminal of its own; several share the jobs
python -m demos.tutorials.jobs shop
"""

import sys

import mesh

mailer = mesh.Node("mailer")


@mailer.worker("emails", retry=mesh.Retry(base=0.1))
def send(job: mesh.HeldJob) -> str:
    if job.attempts == 1:
        raise ConnectionError("the server is away")  # tried again, in a moment
    return f"sent to {job.data} at attempt {job.attempts}"


if sys.argv[1:] == ["mailer"]:
    mailer.run()
else:
    with mesh.Node("shop") as shop:
        emails = shop.queue("emails")  # store="sqlite:///emails.db": they outlive this process
        jobs = [emails.put(name) for name in ("ana", "ben", "cleo")]
        if not sys.argv[1:]:
            mailer.start()
        for job in jobs:
            print("shop:", job.result(timeout=60))
