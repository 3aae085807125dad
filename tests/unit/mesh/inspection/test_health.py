"""From facts to a verdict."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mesh.inspection.health import (
    CERTIFICATE_DAYS,
    ISOLATED_AFTER,
    LAG,
    LOSSES,
    PROBLEMS,
    Facts,
    assess,
    blocked,
)
from mesh.metrics.counted import COUNTED

DAY = 86_400.0
WELL = Facts(linked=4, nodes=4, sources=3, was_linked=True)
ALONE = Facts(alone_for=ISOLATED_AFTER, sources=3)


def test_a_node_with_peers_is_ready_and_there_is_nothing_to_say() -> None:
    health = assess(WELL)
    assert (health.status, health.reasons, health.problems) == ("ready", (), ())
    assert health.is_live
    assert health.is_ready


@pytest.mark.parametrize(
    ("facts", "says"),
    [
        (ALONE, "nobody else was heard of"),
        (replace(ALONE, was_linked=True), "others have left"),
        (replace(ALONE, strangers=2), "2 others were heard of"),
    ],
)
def test_a_node_alone_is_ready_and_says_so(facts: Facts, says: str) -> None:
    health = assess(facts)
    assert (health.status, health.problems) == ("ready", ())
    assert says in health.reasons[0]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"silent_hosts": 2, "was_linked": True}, "peers_silent"),
        ({"refusing": ("10.0.0.1:5 (another key)",)}, "peers_refuse"),
        ({"has_network": False}, "no_network"),
        ({"failing": {"mdns": "no", "seeds": "no", "local": "no"}}, "discovery_all_failing"),
    ],
)
def test_what_cuts_a_node_off_isolates_it_after_a_while_if_nobody_is_linked(
    change: dict[str, object], problem: str
) -> None:
    health = assess(replace(ALONE, **change))  # type: ignore[arg-type]
    assert health.status == "isolated"
    assert problem in health.problems
    assert health.is_ready is (problem == "peers_silent"), "it may be the last one that serves"
    assert health.is_live
    early = assess(replace(ALONE, **{**change, "alone_for": ISOLATED_AFTER - 1}))  # type: ignore[arg-type]
    linked = assess(replace(ALONE, **{**change, "linked": 1}))  # type: ignore[arg-type]
    assert early.status != "isolated"
    assert linked.status != "isolated"


@pytest.mark.parametrize(
    "change",
    [
        {"silent_hosts": 1, "was_linked": True},  # its machine may have lost its power
        {"unanswered": ("10.0.0.1:5",)},  # the first node of a mesh that starts
        {"unanswered": ("10.0.0.1:5",), "refusing": ("10.0.0.2:5 (another key)",)},
    ],
)
def test_silence_alone_does_not_isolate(change: dict[str, object]) -> None:
    assert assess(replace(ALONE, **change)).is_ready  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"failing": {"mdns": "no multicast here"}}, "discovery_failing"),
        ({"in_doubt": ("a/1",)}, "peers_in_doubt"),
        ({"one_way": ("a/1",)}, "one_way_links"),
        ({"lag": LAG}, "loop_lagging"),
        *(({"losses": {name: 3}}, "messages_lost") for name in LOSSES),
        ({"full_peers": ("a/1",)}, "queue_nearly_full"),
        ({"full_subscriptions": ("'news.>'",)}, "queue_nearly_full"),
        ({"descriptors": "too few descriptors"}, "descriptors_short"),
        ({"is_revoked": True}, "certificate_revoked"),
        ({"certificate_left": 0.0}, "certificate_expired"),
        ({"certificate_left": 6 * DAY, "certificate_time": 365 * DAY}, "certificate_expiring"),
        ({"certificate_left": 0.9 * DAY, "certificate_time": 10 * DAY}, "certificate_expiring"),
    ],
)
def test_what_is_the_matter_degrades(change: dict[str, object], problem: str) -> None:
    health = assess(replace(WELL, **change))  # type: ignore[arg-type]
    assert (health.status, health.problems) == ("degraded", (problem,))
    assert len(health.reasons) == 1
    assert health.is_ready


@pytest.mark.parametrize(
    "change",
    [
        {"in_doubt": ("a/1",), "linked": 5, "nodes": 5},
        {"lag": LAG / 2},
        {"losses": {"messages_missed": 0}},
        {"certificate_left": (CERTIFICATE_DAYS + 1) * DAY, "certificate_time": 365 * DAY},
        {"certificate_left": 2 * DAY, "certificate_time": 10 * DAY},
    ],
)
def test_what_is_usual_does_not(change: dict[str, object]) -> None:
    assert assess(replace(WELL, **change)).status == "ready"  # type: ignore[arg-type]


def test_the_worst_decides_and_all_is_told() -> None:
    facts = replace(ALONE, silent_hosts=3, was_linked=True, lag=2.0)
    health = assess(facts)
    assert (health.status, health.problems) == ("isolated", ("peers_silent", "loop_lagging"))
    drained = assess(replace(facts, is_draining=True))
    assert drained.status == "draining"
    assert drained.problems == ("draining", "peers_silent", "loop_lagging")
    assert not drained.is_ready


def test_a_blocked_node_is_not_live() -> None:
    health = blocked(2.0)
    assert (health.status, health.is_live, health.is_ready) == ("blocked", False, False)


def test_a_reason_names_some_and_is_one_line() -> None:
    many = tuple(f"peer{n}/12345678" for n in range(50))
    (reason,) = assess(replace(WELL, linked=50, nodes=50, in_doubt=many)).reasons
    assert "peer2/12345678 and 47 more" in reason
    assert len(reason) < 300
    assert "\n" not in reason


def test_every_problem_is_listed_and_every_loss_is_counted() -> None:
    assert len(set(PROBLEMS)) == len(PROBLEMS)
    assert set(LOSSES) <= set(COUNTED)
