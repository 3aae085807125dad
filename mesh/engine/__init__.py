"""Where the parts meet: see ``mesh.engine.engine``."""

from mesh.engine.config import EngineConfig
from mesh.engine.engine import Engine
from mesh.engine.guarded import engine_for

__all__ = ["Engine", "EngineConfig", "engine_for"]
