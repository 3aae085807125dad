"""Where the parts meet: see ``mesh.engine.engine``."""

from mesh.engine.config import EngineConfig
from mesh.engine.engine import Engine

__all__ = ["Engine", "EngineConfig"]
