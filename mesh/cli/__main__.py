"""``python -m mesh.cli`` is ``meshctl``."""

import sys

from mesh.cli import main

if __name__ == "__main__":
    sys.exit(main())
