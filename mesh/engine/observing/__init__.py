"""Who looks on: spans of traces, and taps. See ``mesh.engine.observing.observing``."""

from mesh.engine.observing.observing import MakeTracer, Observing
from mesh.engine.observing.outgoing import ObservedPublisher
from mesh.engine.observing.recorder import Recorder, Ring
from mesh.engine.observing.taps import Tap, Taps

__all__ = ["MakeTracer", "ObservedPublisher", "Observing", "Recorder", "Ring", "Tap", "Taps"]
