"""Call a function of another process: its value, its error, or no answer in time.

python -m demos.tutorials.rpc          # both, in this process
python -m demos.tutorials.rpc serve    # or each in a terminal of its own; several share the calls
python -m demos.tutorials.rpc call
"""

import asyncio
import sys

import mesh

server = mesh.Node("calc")


@server.rpc
async def divide(a: float, b: float, seconds: float = 0) -> float:
    await asyncio.sleep(seconds)
    return a / b


if sys.argv[1:] == ["serve"]:
    server.run()
else:
    if not sys.argv[1:]:
        server.start()
    with mesh.Node("shop") as shop:
        shop.wait_for("calc")  # wherever it is; 5 s at most
        for timeout, *arguments in (5, 6, 3), (5, 1, 0), (5, 6), (0.3, 6, 3, 10):
            try:
                print(arguments, "->", shop.service("calc", timeout=timeout).divide(*arguments))
            except mesh.MeshError as error:
                print(arguments, "->", f"{type(error).__name__}: {error}")
