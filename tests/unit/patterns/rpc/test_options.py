"""How a call is made, checked once."""

from __future__ import annotations

from typing import Any

import pytest

from patterns.errors import BadName, ConfigError
from patterns.keys import MAX_KEY_BYTES
from patterns.rpc import CallOptions
from tests.unit.patterns.rpc.port import Node


@pytest.mark.parametrize(
    ("key", "form"), [("user:7", b"user:7"), (b"\xff\x00", b"\xff\x00"), (-7, b"-7"), ("", b"")]
)
def test_a_key_is_kept_as_given_beside_its_canonical_form(key: Any, form: bytes) -> None:
    options = CallOptions(key=key)
    assert (options.key, type(options.key)) == (key, type(key))
    assert options.canonical_key == form


@pytest.mark.parametrize("key", [True, 1.5, ["a"], "\ud800", "x" * (MAX_KEY_BYTES + 1)])
def test_a_bad_key_is_refused_when_the_options_are_made(key: Any) -> None:
    with pytest.raises(BadName):
        CallOptions(key=key)


def test_a_key_and_a_peer_together_are_refused() -> None:
    with pytest.raises(ConfigError, match="not both"):
        CallOptions(key="k", target=lambda: Node("a"))


def test_without_a_key_there_is_no_canonical_form() -> None:
    assert CallOptions().canonical_key is None


@pytest.mark.parametrize(
    ("hedge", "seconds", "quantile"), [(0.05, 0.05, None), (1, 1.0, None), ("p95", 0.0, 0.95)]
)
def test_a_hedge_is_seconds_or_a_quantile_and_says_that_methods_may_run_twice(
    hedge: float | str, seconds: float, quantile: float | None
) -> None:
    options = CallOptions(hedge=hedge)
    assert (options.hedge, options.quantile, options.retry) == (seconds, quantile, True)
    assert not options.is_free
    assert [leg.retry for leg in options.legs] == [True, False]
    assert all(leg.is_free and leg.hedge is None for leg in options.legs)


@pytest.mark.parametrize(
    "hedge", [0, -1, 5.0, 50, float("nan"), float("inf"), True, "p", "p49", "p100", "95", "0.05"]
)
def test_a_hedge_that_could_not_work_is_refused_and_the_error_says_what_can(hedge: Any) -> None:
    with pytest.raises(ConfigError, match="give seconds"):
        CallOptions(hedge=hedge)


@pytest.mark.parametrize("options", [{"key": "k"}, {"target": lambda: Node("a")}])
def test_a_hedge_needs_a_choice_of_members(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="second member"):
        CallOptions(hedge=0.05, **options)
