"""What a running node tells of itself to others, and lets them do with it."""

from mesh.inspection.service import Inspector

__all__ = ["Inspector"]
