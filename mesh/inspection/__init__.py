"""What a running node tells of itself to others, and lets them do with it."""

from mesh.inspection.health import Health
from mesh.inspection.service import Inspector
from mesh.inspection.vitals import Vitals

__all__ = ["Health", "Inspector", "Vitals"]
