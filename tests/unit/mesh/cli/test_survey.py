"""``--until`` of ``meshctl survey``."""

from __future__ import annotations

import click
import pytest

import mesh
from mesh.cli.commands.survey import survey
from patterns.survey import Until


def parsed(value: str) -> object:
    return survey.make_context("survey", ["calc.health", "--until", value]).params["until"]


def test_enough_is_all_a_number_or_a_share() -> None:
    assert parsed("all") == Until()
    assert parsed("first:3") == mesh.first(3)
    assert parsed("quorum:0.9") == mesh.quorum(0.9)


@pytest.mark.parametrize(
    "value", ["", "some", "all:3", "first", "first:", "first:0", "first:x", "quorum:2", "quorum:"]
)
def test_all_else_is_wrong_usage(value: str) -> None:
    with pytest.raises(click.BadParameter, match="quorum:0"):
        parsed(value)
