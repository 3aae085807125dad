"""Campaigns: seeded runs of whole engines under mixed faults, with laws that always hold.

``make_plan(seed)`` is a list of steps; ``Run(plan)`` executes it and raises ``LawBroken``. A step
says all that it does by a number of its own, so a plan without some of its steps is a plan too:
that is how a failing one is shrunk. ``python -m tests.sim.campaign`` runs, replays and shrinks.
"""

from tests.sim.campaign.judge import LAWS, LawBroken
from tests.sim.campaign.plan import Plan, Step, make_plan
from tests.sim.campaign.run import Run

__all__ = ["LAWS", "LawBroken", "Plan", "Run", "Step", "make_plan"]
