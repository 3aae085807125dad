"""Seven programs of at most 20 lines, one for each thing that messaging is used for.

They meet in a mesh of their own, ``tutorials``, and not in the one that your services are in.
``MESH_NAME`` says otherwise.
"""

import os

os.environ.setdefault("MESH_NAME", "tutorials")
