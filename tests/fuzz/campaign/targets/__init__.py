"""All decoders that are fuzzed. A new one is a ``Target`` in the list of the module it belongs to.

For example, for a decoder of certificates with the class of its own errors::

    Target("certificate", Certificate.parse, (sample().pack(),), refuses=(BadCertificate,))
"""

from tests.fuzz.campaign.target import Target
from tests.fuzz.campaign.targets import (
    discovery,
    engine,
    patterns,
    plain,
    security,
    texts,
    wire,
)

__all__ = ["TARGETS"]

TARGETS: list[Target] = [
    *wire.TARGETS,
    *patterns.TARGETS,
    *discovery.TARGETS,
    *plain.TARGETS,
    *security.TARGETS,
    *texts.TARGETS,
    *engine.TARGETS,
]
