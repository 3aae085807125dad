"""Seven programs of at most 20 lines, one for each thing that messaging is used for.

They meet in a mesh of their own, ``tutorials``, and not in the one that your services are in.
``MESH_NAME`` says otherwise.

Surprise: where handlers of several nodes print, and so several threads, lines are written with
``sys.stdout.write``: ``print`` writes the end of a line by itself, and others may come between.
"""

import os

os.environ.setdefault("MESH_NAME", "tutorials")
