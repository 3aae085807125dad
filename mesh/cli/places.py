"""Where ``meshctl`` keeps things: ``$XDG_CONFIG_HOME/mesh``, else ``~/.config/mesh``."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["authority_folder", "config_folder", "identity_path"]


def config_folder() -> Path:
    """It may be missing."""
    base = Path(os.environ.get("XDG_CONFIG_HOME", "").strip())
    # The XDG rules say that a relative path is to be ignored.
    folder = base if base.is_absolute() else Path(os.path.expanduser("~/.config"))
    return folder / "mesh"


def authority_folder(mesh_name: str) -> Path:
    """Of the authority of a mesh, on the one machine that has it."""
    return config_folder() / "ca" / mesh_name


def identity_path(mesh_name: str) -> Path:
    """Of this machine's identity in a mesh."""
    return config_folder() / f"{mesh_name}.identity"
