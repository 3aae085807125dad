"""One sender, one receiver.

python -m demos.tutorials.hello            # both, in this process
python -m demos.tutorials.hello receive    # or each in a terminal of its own
python -m demos.tutorials.hello send
"""

import sys

import mesh

receiver, sender = mesh.Node("receiver"), mesh.Node("sender")  # nothing happens yet


@receiver.subscriber("greetings")
def greet(message: mesh.Message) -> None:
    print(f"receiver: {message.data}, says {message.sender.name}")


def send() -> None:
    with sender:  # start() ... close()
        peer = sender.wait_for("receiver")[0]  # wherever it is; 5 s at most
        sender.send(peer, "greetings", "hello, world")


if sys.argv[1:] == ["receive"]:
    receiver.run()  # until Ctrl-C
elif sys.argv[1:] == ["send"]:
    send()
else:
    with receiver:
        send()
        receiver.drain()  # until all that came is handled
