"""A campaign of mutated inputs against every decoder, the same for the same seed.

``TARGETS`` are the decoders, each with valid inputs, the errors it may refuse with and a law on
what it returns; ``Fuzzer`` mutates the inputs and judges. A new decoder is one more ``Target`` in
a module of ``targets``; what was found is kept in ``tests/fuzz/corpus`` and tried first in each
run. Run a campaign by ``python -m tests.fuzz.campaign``.
"""

from tests.fuzz.campaign.corpus import CORPUS, load, save
from tests.fuzz.campaign.fuzzer import Failure, Fuzzer, Report
from tests.fuzz.campaign.mutator import Mutator
from tests.fuzz.campaign.target import Target
from tests.fuzz.campaign.targets import TARGETS

__all__ = ["CORPUS", "TARGETS", "Failure", "Fuzzer", "Mutator", "Report", "Target", "load", "save"]
